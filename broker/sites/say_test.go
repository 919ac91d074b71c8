package sites

import (
	"testing"

	"github.com/tandembroker/tandem/replication/site"
)

// heldNetwork sends nothing before it is told to.
type heldNetwork struct {
	dones []func(bool)
	sent  int
}

func (n *heldNetwork) Send(_ site.Message, done func(bool)) {
	n.sent++
	if done != nil {
		n.dones = append(n.dones, done)
	}
}

func (n *heldNetwork) Connected() bool { return true }

// TestQuestionsDoNotFillTheLine: of what a tick says again no more waits to go out than a bound; what is said once waits behind nothing.
func TestQuestionsDoNotFillTheLine(t *testing.T) {
	var n heldNetwork
	d := &Driver{network: &n}
	for range 10 * askingMax {
		d.say(site.Probe{})
		d.say(site.Compare{})
		d.say(site.Drain{})
	}
	if n.sent != askingMax {
		t.Fatalf("%d wait to go out", n.sent)
	}
	d.say(site.Ack{})
	if n.sent != askingMax+1 {
		t.Fatal("an answer was not sent")
	}
	for _, done := range n.dones {
		done(true)
	}
	if d.say(site.Probe{}); n.sent != askingMax+2 {
		t.Error("what waited has gone out, and nothing is said any more")
	}
}
