// Package terminal asks the person at the terminal for a secret, without showing
// what they type. It talks to the terminal itself, so that input and output of
// the program may be files.
package terminal
