// Package ui renders hadir's pages and holds their style sheet, script and icon.
//
// It renders what it is given and never reads data: what a page shows is decided
// by package httpapi, which fills the structs of data.go. It knows no roles, no
// requests and no clock.
//
// # Invariants
//
//   - Every word on a page stands in the catalogue (words.go), in Indonesian and in
//     English; a test fails on a key that is missing or that nobody uses.
//   - Everything works without JavaScript: the script only fetches the same parts
//     of the same pages again and swaps them in.
//   - No style or script stands in the markup, so that the policy of httpapi needs
//     no exception.
//
// # Trade-offs
//
//   - Templates are parsed once for each language, with the words bound in, rather
//     than handing the language through every call.
//   - An asset's name has a hash of its content, so that browsers keep it for ever.
//     Another hash is answered with the current content and no permission to keep
//     it: behind a front, the page and its style sheet may come from two versions.
package ui
