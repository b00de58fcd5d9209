// Package openapi is as much of OpenAPI 3.1 as hadir's contract needs: the model
// of a document, JSON Schemas made from Go types, and examples made from schemas.
//
// It knows nothing of HTTP and nothing of hadir. What is described is what
// encoding/json would write: the names of the json tags, omitempty as optional,
// a pointer as something that may be null, embedded structs flattened. An object
// is closed: a property that is not described is not allowed.
//
// # What it does not do
//
//   - It reads no documents and checks none; the tests of its users do, with a
//     validator that is not ours.
//   - It describes what is written, so a type with its own MarshalJSON must say by
//     itself what that is, as a Describer.
package openapi
