package httpapi

// Accepts is what it is inside.
var Accepts = accepts
