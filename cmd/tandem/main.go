// Command tandem is the broker and its tools in one static binary. It parses flags and wires packages; what happens then is
// theirs. Exit codes: 0 = done, 1 = it failed, 2 = what was asked for is wrong (flags or settings), 3 = a write or sync failed, or a
// stop did not end, and the next start recovers. `tandem dr` has 3 for what is refused in the state that the sites are in.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
)

const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitFatal  = 3
)

// version is set by the linker for a release: -X main.version=1.2.3.
var version = ""

const usage = `Tandem is a Kafka-compatible broker.

Usage:
  tandem serve [-c FILE] [--set key=value]...   run a broker
  tandem dr help                                disaster recovery: status, switchover, failover, lost records
  tandem demo                                   two sites on this machine: switchover, loss of a site, return
  tandem version                                print the version
  tandem help                                   print this

serve needs no file: it stores in ./tandem-data, listens on 127.0.0.1:9092, and serves /metrics, /livez, /readyz and
/debug/pprof on 127.0.0.1:9644. FILE is a Kafka server.properties. Precedence, lowest first: built-in default, FILE,
environment (KAFKA_LOG_DIRS for log.dirs, as in the Kafka images), --set.
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with its surroundings as arguments; it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		_, _ = fmt.Fprint(stderr, usage)
		return exitUsage
	}
	switch args[0] {
	case "serve":
		return serve(args[1:], stderr)
	case "dr":
		return disasterRecovery(args[1:], stdout, stderr)
	case "demo":
		return demonstrate(args[1:], stdout, stderr)
	case "version", "--version", "-version":
		_, _ = fmt.Fprintf(stdout, "tandem %s %s %s/%s\n", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return exitDone
	case "help", "--help", "-help", "-h":
		_, _ = fmt.Fprint(stdout, usage)
		return exitDone
	case checkMetaCommand:
		return checkMeta(args[1:], stderr)
	}
	_, _ = fmt.Fprintf(stderr, "tandem: unknown command %q; `tandem help` lists them\n", args[0])
	return exitUsage
}

// versionText is the release, or else the revision that the binary was built from.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+changes"
		}
	}
	if revision == "" {
		return "devel"
	}
	return "devel-" + revision + modified
}
