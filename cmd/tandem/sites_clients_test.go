//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/sites/operator"
)

// TestNewClientBehindALoss is not sent to the site that is gone: by its own defaults it would stay with that for 5 s, whatever is ordered
// meanwhile.
func TestNewClientBehindALoss(t *testing.T) {
	const metadataMinAge = 5 * time.Second // franz-go's default
	for name, lose := range map[string]func(*siteProcess){
		"killed": func(s *siteProcess) { s.kill() },
		"frozen": func(s *siteProcess) { s.signal(syscall.SIGSTOP) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			east, west := startSites(t)
			east.write("t", 10, 10)
			west.has("t")
			lose(east)
			west.until("the loss", func(st operator.Status) bool { return !st.Contact.Connected })
			asked := make(asks, 1)
			c, err := kgo.NewClient(kgo.SeedBrokers(west.address), kgo.WithHooks(asked))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			began, acknowledged := time.Now(), make(chan error, 1)
			c.Produce(ctx, &kgo.Record{Topic: "t", Value: []byte("new")}, func(_ *kgo.Record, err error) { acknowledged <- err })
			<-asked
			west.does(0, "failover --to west --active-is-down --yes", "west is the active site")
			if err := <-acknowledged; err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took >= metadataMinAge {
				t.Errorf("acknowledged after %s", took)
			}
			if brokers, err := kadm.NewClient(c).ListBrokers(ctx); name == "frozen" && (err != nil || len(brokers) != 1) {
				t.Errorf("clients are told of %v, %v: whatever any broker may be asked goes to one that does not answer", brokers, err)
			}
		})
	}
}

// asks holds something once a client has asked for metadata.
type asks chan struct{}

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (a asks) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key != kmsg.Metadata.Int16() {
		return
	}
	select {
	case a <- struct{}{}:
	default:
	}
}
