// Package lint holds the tree to rules that no linter knows: which folder may import which, that time, files, network and
// randomness come in through the seams, how long a file may be, and what a package may not be called. It has only tests.
package lint
