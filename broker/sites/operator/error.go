package operator

import (
	"errors"
	"fmt"

	"github.com/tandembroker/tandem/replication/site"
)

// Code is how a request has ended; the first four are exit codes of the command line too.
type Code int16

// Codes; the numbers are on the wire.
const (
	CodeDone        Code = 0
	CodeFailed      Code = 1
	CodeUsage       Code = 2 // the request is wrong, whatever the state of the sites
	CodeRefused     Code = 3 // not in this state of the sites; nothing has changed
	CodeUnsupported Code = 4 // the broker is of another version
)

// Error is why a request was not done, and what to do next.
type Error struct {
	Code Code
	Text string
	Next string // a command, or a sentence; "" = nothing better than to try again
}

func (e *Error) Error() string { return e.Text }

// refuse is an Error of CodeRefused.
func refuse(next, format string, args ...any) *Error {
	return &Error{CodeRefused, fmt.Sprintf(format, args...), next}
}

// errNoSite is the answer of a broker that is none of a pair.
var errNoSite = &Error{CodeRefused, "this broker belongs to no site: site.name is not set",
	"ask a broker of a pair of sites, or set site.name and site.peers and start it again"}

const (
	nextStatus = "tandem dr status"
	nextAbort  = "tandem dr abort"
	nextWatch  = "tandem dr status --watch"
)

// Explain makes an Error of what a site answers to an order (site.Site.Step), and leaves any other error as it is.
func Explain(err error) error {
	switch {
	case errors.Is(err, site.ErrBusy):
		return refuse("try again in a second", "the site's role is changing at this moment")
	case errors.Is(err, site.ErrNotActive):
		return refuse(nextStatus, "this site is not active, or does not serve")
	case errors.Is(err, site.ErrServes):
		return refuse(nextStatus, "this site is active and serves: there is nothing to fail over from")
	case errors.Is(err, site.ErrNotLeased):
		return refuse("make sure that the active site is down, then say so: --active-is-down",
			"the active site is not known to be under a lease (dr.fence.after.ms), so waiting would not stop it")
	case errors.Is(err, site.ErrSwitching):
		return refuse(nextWatch+", or "+nextAbort, "a switchover is going on")
	case errors.Is(err, site.ErrNoFailover):
		return refuse(nextStatus, "no failover is going on")
	case errors.Is(err, site.ErrExhausted):
		return refuse("copy what is needed to a new pair of sites", "no site epoch is left: there were too many promotions")
	}
	return err
}
