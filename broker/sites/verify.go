package sites

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/broker/sites/verify"
	"github.com/tandembroker/tandem/replication/site"
)

// newRuns compares the two sites from this broker.
func newRuns(p *Pair) *verify.Runs {
	return verify.NewRuns(ownSums{p}, otherSums{p}, p.verifiable, verify.Options{})
}

// ownSums are checksums of this broker's logs.
type ownSums struct{ p *Pair }

// Sum implements verify.Side.
func (s ownSums) Sum(ctx context.Context, r verify.Range) (verify.Sum, error) {
	replica, ok := s.p.driver.replica(site.PartitionID{Topic: r.TopicID, Partition: r.Partition})
	if !ok {
		sum, err := verify.Compute(ctx, nil, r)
		if damage := s.p.damage(r); damage != "" {
			sum.Busy = damage
		}
		return sum, err
	}
	return verify.Compute(ctx, replica, r)
}

// damage is why a partition cannot be used here; "" = it can, or is not here.
func (p *Pair) damage(r verify.Range) string {
	part, _ := p.options.Partitions.Find(r.TopicID, r.Partition)
	if part == nil || part.Offline() == nil {
		return ""
	}
	return fmt.Sprintf("it cannot be used at %s: %s", p.options.Config.Name, brief(part.Offline()))
}

// otherSums are those of the other site.
type otherSums struct{ p *Pair }

const (
	sumTries   = 5
	sumTimeout = 20 * time.Second // of a try: messages between sites may be lost
)

// Sum implements verify.Side.
func (s otherSums) Sum(ctx context.Context, r verify.Range) (out verify.Sum, err error) {
	for range sumTries {
		if err = s.once(ctx, r, &out); err == nil || ctx.Err() != nil {
			return out, err
		}
	}
	return out, err
}

func (s otherSums) once(ctx context.Context, r verify.Range, out *verify.Sum) error {
	ctx, cancel := context.WithTimeout(ctx, sumTimeout)
	defer cancel()
	return s.p.forward(ctx, operator.OpVerifySum, r, out)
}

// verifiable are the partitions of topics, or of all that ship.
func (p *Pair) verifiable(_ context.Context, topics []string) (all []verify.Partition, err error) {
	image := p.options.Controller.Image()
	for _, name := range topics {
		if _, ok := image.Topic(name); !ok || !p.options.Config.Ships(name) {
			return nil, fmt.Errorf("there is no topic %s that is shipped", name)
		}
	}
	halted := map[string]site.HaltReason{} // by what verify.Partition is called
	f := p.facts()
	for i := range f.Partitions {
		one := verify.Partition{Topic: f.Partitions[i].Topic, Index: f.Partitions[i].Index}
		halted[one.String()] = f.Partitions[i].Halted
	}
	for _, t := range image.Topics() {
		if !p.options.Config.Ships(t.Name) || len(topics) > 0 && !slices.Contains(topics, t.Name) {
			continue
		}
		for i := range t.Partitions {
			one := verify.Partition{Topic: t.Name, TopicID: t.ID, Index: int32(i), Compacted: t.Config.Compact}
			if reason := halted[one.String()]; reason != site.Running {
				one.Halted = reason.String()
			}
			all = append(all, one)
		}
	}
	return all, nil
}

// Verify implements operator.DR. The broker that is asked compares.
func (d DR) Verify(ctx context.Context, o operator.VerifyOrder) (operator.Verification, error) {
	if !d.p.Connected() {
		f := d.p.facts()
		return operator.Verification{}, &operator.Error{Code: operator.CodeRefused, Text: "the sites are not in contact, so they cannot be compared",
			Next: "start the brokers of " + f.There.Name + ", or mend the network"}
	}
	if _, err := d.p.verifiable(ctx, o.Topics); err != nil {
		return operator.Verification{}, &operator.Error{Code: operator.CodeUsage, Text: err.Error(), Next: "tandem dr status lists the topics that ship"}
	}
	return d.p.runs.Begin(o)
}

// VerifyProgress implements operator.DR.
func (d DR) VerifyProgress(ctx context.Context, id string) (operator.Verification, error) {
	v, err := d.p.runs.Progress(id)
	var unknown *operator.Error
	if errors.As(err, &unknown) && !d.asked && d.p.Connected() { // begun at a broker of the other site, then
		err = d.p.forward(ctx, operator.OpVerifyProgress, identified{id}, &v)
	}
	return v, err
}

// VerifySum implements operator.DR.
func (d DR) VerifySum(ctx context.Context, r operator.VerifyRange) (operator.VerifySum, error) {
	return ownSums{d.p}.Sum(ctx, r)
}
