//go:build !linux

package demo

import "os/exec"

// bindLifetime does nothing here: a demo that is killed leaves its brokers behind.
func bindLifetime(*exec.Cmd) {}
