// Package dr is the command `tandem dr`: it reads flags, asks a broker by operator requests (docs/formats.md section 13), and prints what comes
// back, for people or as JSON. What may be done is decided by the brokers.
//
// Results go to standard output. With --json nothing but JSON is printed: one object, or one a line where there are many; an error is an
// object on standard error. Exit codes: 0 done, 1 failed, 2 what was asked for is wrong, 3 refused (nothing has changed).
package dr
