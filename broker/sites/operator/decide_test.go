package operator

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func number(n int64) *int64 { return &n }

// partitions are n partitions that are linked, with a lag of one record each.
func partitions(n int) []Partition {
	var all []Partition
	for i := range n {
		all = append(all, Partition{Topic: "t", Index: int32(i), Led: true, Copied: true, Shipped: End{99, noon.Add(-3 * time.Second)}, Active: End{100, noon.Add(-2 * time.Second)},
			Lag: Lag{number(1), number(100), number(int64(20 + i))}})
	}
	return all
}

// atStandby are the facts of west, the standby, in contact with east, the active.
func atStandby() *Facts {
	return &Facts{
		Now: noon, Here: Site{Name: "west", Known: true}, There: Site{Name: "east", Known: true, Role: site.Active, Serving: true},
		Connected: true, LastContact: noon, SilenceMax: time.Minute, Partitions: partitions(2),
		Metadata: Metadata{Active: "0.7", Standby: "0.7"},
	}
}

// atActive are the facts of east at the same moment.
func atActive() *Facts {
	f := atStandby()
	f.Here, f.There = f.There, f.Here
	return f
}

// cut has contact lost for so long.
func cut(f *Facts, silence time.Duration) {
	f.Connected, f.LastContact = false, noon.Add(-silence)
}

func TestDecideFailover(t *testing.T) {
	down := FailoverOrder{To: "west", ActiveIsDown: true}
	accept := FailoverOrder{To: "west", ActiveIsDown: true, AcceptDataLoss: true}
	lost := func(change func(*Facts)) func(*Facts) {
		return func(f *Facts) { cut(f, 2*time.Second); change(f) }
	}
	for _, c := range []struct {
		name  string
		facts func(*Facts)
		order FailoverOrder
		code  Code   // CodeDone = it may begin
		text  string // what the question or the refusal has in it
		next  string
	}{
		{"active lost", lost(func(*Facts) {}), down, CodeDone, "Known to be lost: 2 records (200 bytes). Lost too, and not known: all that east took in the 2s since", ""},
		{"nobody says that it is down", lost(func(*Facts) {}), FailoverOrder{To: "west"}, CodeRefused, "not known to be under a lease", "--active-is-down"},
		{"by waiting for the lease", lost(func(f *Facts) { f.ActiveLeased, f.Lease = true, 6*time.Second }), FailoverOrder{To: "west"}, CodeDone, "Make west", ""},
		{"a lease that this run has not heard of", lost(func(f *Facts) { f.Lease = 6 * time.Second }), FailoverOrder{To: "west"}, CodeRefused, "lease", "--active-is-down"},
		{"active can be reached", func(*Facts) {}, down, CodeRefused, "east is active and can be reached", "tandem dr switchover --to west"},
		{"active can be reached, loss accepted", func(*Facts) {}, accept, CodeRefused, "can be reached", "tandem dr switchover --to west"},
		{"asked of the wrong site", lost(func(*Facts) {}), FailoverOrder{To: "east", ActiveIsDown: true}, CodeRefused, "cannot be reached", "ask a broker of east"},
		{"no such site", lost(func(*Facts) {}), FailoverOrder{To: "north", ActiveIsDown: true}, CodeUsage, `"north"`, "--to west, or --to east"},
		{"no name", lost(func(*Facts) {}), FailoverOrder{ActiveIsDown: true}, CodeUsage, `""`, "--to"},
		{"twice", lost(func(f *Facts) { f.Here.Role, f.Here.Serving, f.Here.Epoch = site.Active, true, 5 }), down, CodeRefused, "active site already (site epoch 5)", "history"},
		{"while one is going on", lost(func(f *Facts) { f.Order = &Order{Kind: Failover, To: "west", State: Running} }), down, CodeRefused, "failover to west is going on", "status"},
		{"waits for the lease already", lost(func(f *Facts) { f.Here.Waiting = true }), FailoverOrder{To: "west"}, CodeRefused, "handed over already", "abort"},
		{"need not wait after all", lost(func(f *Facts) { f.Here.Waiting = true }), down, CodeDone, "Make west", ""},
		{"an order that has ended", lost(func(f *Facts) { f.Order = &Order{Kind: Failover, To: "west", State: Failed} }), down, CodeDone, "Make west", ""},

		{"empty standby", lost(func(f *Facts) { f.Partitions = nil }), down, CodeRefused, "west is empty", "--active-is-down --accept-data-loss"},
		{"nothing copied yet", lost(func(f *Facts) {
			for i := range f.Partitions {
				f.Partitions[i].Copied, f.Partitions[i].Shipped = false, End{Offset: 0}
			}
		}), down, CodeRefused, "nothing was copied to it yet", "--accept-data-loss"},
		{"first copy unfinished", lost(func(f *Facts) { f.Partitions[1].Copied = false }), down, CodeRefused, "1 of 2 partitions are incomplete", "--accept-data-loss"},
		{"first copy unfinished, accepted", lost(func(f *Facts) { f.Partitions[1].Copied = false }), accept, CodeDone, "Make west", ""},
		{"halted link", lost(func(f *Facts) { f.Partitions[0].Halted = site.HaltGap }), down, CodeRefused, "links of 1 of 2 partitions have stopped", "--accept-data-loss"},
		{"halted link, accepted", lost(func(f *Facts) { f.Partitions[0].Halted = site.HaltGap }), accept, CodeDone, "Make west", ""},
		{"silence at the limit", func(f *Facts) { cut(f, time.Minute) }, down, CodeDone, "in the 1m0s since", ""},
		{"silence above it", func(f *Facts) { cut(f, time.Minute+time.Millisecond) }, down, CodeRefused, "longer than dr.failover.silence.max.ms (1m0s)", "--accept-data-loss"},
		{"silence of unknown length", func(f *Facts) { cut(f, 0); f.LastContact = time.Time{} }, down, CodeRefused, "Nobody at west knows when", "--accept-data-loss"},
		{"silence of unknown length, accepted", func(f *Facts) { cut(f, 0); f.LastContact = time.Time{} }, accept, CodeDone, "How much was not shipped at the last contact is not known", ""},
		{"accepting loss does not say that the active is down", func(f *Facts) { cut(f, time.Hour) }, FailoverOrder{To: "west", AcceptDataLoss: true}, CodeRefused, "lease", "--active-is-down"},

		{"two standbys in contact", func(f *Facts) { f.There.Role, f.There.Serving = site.Standby, false }, down, CodeDone, "No site is active", ""},
		{"a restarted active alone", lost(func(f *Facts) { f.Here.Role = site.Active }), down, CodeDone, "kept as lost records", ""},
		{"a restarted active alone, not said to be", lost(func(f *Facts) { f.Here.Role = site.Active }), FailoverOrder{To: "west"}, CodeRefused, "lease", "--active-is-down"},
		{"a restarted active in contact", func(f *Facts) { f.Here.Role, f.There.Role = site.Active, site.Standby }, down, CodeRefused, "about to serve", "again"},
		{"an active that hands over to a site that is gone", lost(func(f *Facts) {
			f.Here = Site{Name: "west", Known: true, Role: site.Active, Epoch: 4, Serving: true, Fencing: 9}
		}), down, CodeDone, "Make west", ""},
		{"a restarted active that has heard of a promotion", lost(func(f *Facts) { f.Here.Role, f.There.Epoch = site.Active, 5 }), down, CodeRefused,
			"east was promoted to site epoch 5", "--accept-data-loss"},
		{"a restarted active that has heard of a promotion, accepted", lost(func(f *Facts) { f.Here.Role, f.There.Epoch = site.Active, 5 }), accept, CodeDone,
			"How much was not shipped at the last contact is not known", ""},
		{"amid a switchover to a site that is gone", lost(func(f *Facts) {
			f.Here, f.Order = Site{Name: "west", Known: true, Role: site.Active, Epoch: 4, Serving: true, Fencing: 9}, &Order{Kind: Switchover, To: "east", State: Running}
		}), down, CodeDone, "Make west", ""},
		{"amid a switchover to a site that is there", func(f *Facts) {
			f.Here, f.Order = Site{Name: "west", Known: true, Role: site.Active, Epoch: 4, Serving: true, Fencing: 9}, &Order{Kind: Switchover, To: "east", State: Running}
		}, down, CodeRefused, "switchover to east is going on", "abort"},
		{"amid a switchover to a site that is gone, not said to be", lost(func(f *Facts) {
			f.Here, f.Order = Site{Name: "west", Known: true, Role: site.Active, Epoch: 4, Serving: true, Fencing: 9}, &Order{Kind: Switchover, To: "east", State: Running}
		}), FailoverOrder{To: "west"}, CodeRefused, "switchover to east is going on", "abort"},
	} {
		f := atStandby()
		c.facts(f)
		plan, err := f.DecideFailover(c.order)
		code, text, next := CodeDone, plan.Question, ""
		if err != nil {
			code, text, next = err.Code, err.Text, err.Next
		}
		if code != c.code || !strings.Contains(text, c.text) || !strings.Contains(next, c.next) {
			t.Errorf("%s: code %d, %q, next %q; want %d, %q, %q", c.name, code, text, next, c.code, c.text, c.next)
		}
		if code != CodeDone && code != CodeUsage && next == "" {
			t.Errorf("%s: nothing says what to do next", c.name)
		}
	}
}

func TestDecideFailoverWaitsOnlyForALease(t *testing.T) {
	f := atStandby()
	cut(f, time.Second)
	f.ActiveLeased, f.Lease = true, 6*time.Second
	if plan, err := f.DecideFailover(FailoverOrder{To: "west"}); err != nil || plan.WaitMs != 6000 || plan.ActiveIsDown {
		t.Errorf("%+v, %v", plan, err)
	}
	if plan, err := f.DecideFailover(FailoverOrder{To: "west", ActiveIsDown: true}); err != nil || plan.WaitMs != 0 || !plan.ActiveIsDown {
		t.Errorf("%+v, %v", plan, err)
	}
}

func TestDecideSwitchover(t *testing.T) {
	for _, c := range []struct {
		name  string
		facts func(*Facts)
		to    string
		code  Code
		text  string
		next  string
	}{
		{"green", func(*Facts) {}, "west", CodeDone, "Nothing is lost", ""},
		{"lag unknown", func(f *Facts) { f.Partitions[0].Lag = Lag{} }, "west", CodeDone, "Nothing is lost", ""},
		{"active already", func(*Facts) {}, "east", CodeRefused, "active site already", "status"},
		{"no such site", func(*Facts) {}, "north", CodeUsage, `"north"`, "--to"},
		{"no contact", func(f *Facts) { cut(f, time.Second) }, "west", CodeRefused, "not in contact", "tandem dr failover --to west"},
		{"not confirmed", func(f *Facts) { f.Here.Serving = false }, "west", CodeRefused, "does not serve yet", "status"},
		{"no active", func(f *Facts) { f.Here.Role, f.Here.Serving = site.Standby, false }, "west", CodeRefused, "neither", "failover"},
		{"halted", func(f *Facts) { f.Partitions[0].Halted = site.HaltDivergent }, "west", CodeRefused, "1 of 2", "status"},
		{"damaged", func(f *Facts) { f.Partitions[0].Fault = "batch 0" }, "west", CodeRefused, "would be lost: batch 0", "kafka-delete-records"},
		{"copying", func(f *Facts) { f.Partitions[0].Copied = false }, "west", CodeRefused, "not copied to west", "watch"},
		{"without a leader", func(f *Facts) { f.Partitions[0].Led = false }, "west", CodeRefused, "no leader", "watch"},
		{"going on", func(f *Facts) { f.Here.Fencing = 5 }, "west", CodeRefused, "handed over already", "abort"},
		{"order going on", func(f *Facts) { f.Order = &Order{Kind: Switchover, To: "west", State: Running} }, "west", CodeRefused, "going on", "abort"},
	} {
		f := atActive()
		c.facts(f)
		plan, err := f.DecideSwitchover(SwitchoverOrder{To: c.to})
		code, text, next := CodeDone, plan.Question, ""
		if err != nil {
			code, text, next = err.Code, err.Text, err.Next
		}
		if code != c.code || !strings.Contains(text, c.text) || !strings.Contains(next, c.next) {
			t.Errorf("%s: code %d, %q, next %q; want %d, %q, %q", c.name, code, text, next, c.code, c.text, c.next)
		}
	}
}

func TestStatusIsGreenOnlyWhenAllIsWell(t *testing.T) {
	for _, c := range []struct {
		name    string
		facts   func(*Facts)
		reasons []string
		next    string
	}{
		{"all is well", func(*Facts) {}, nil, ""},
		{"an archive alone does not matter", func(f *Facts) { f.Archives.Archives = 3 }, nil, ""},
		{"no topic ships yet", func(f *Facts) { f.Partitions = nil }, nil, ""},
		{"an order that has ended", func(f *Facts) { f.Order = &Order{State: Done} }, nil, ""},
		{"no contact", func(f *Facts) { cut(f, 3*time.Second) }, []string{"no contact"}, "mend the network"},
		{"connected and silent", func(f *Facts) { f.Quiet = quietMax + 1 }, []string{"silent"}, "--watch"},
		{"words come, of long ago", func(f *Facts) { f.AsOf = noon.Add(-oldMax - 1) }, []string{"late"}, "look at the network"},
		{"words come late", func(f *Facts) { f.AsOf = noon.Add(-oldMax) }, nil, ""},
		{"words of long ago, and seldom by intent", func(f *Facts) { f.AsOf, f.ReportsApart = noon.Add(-oldMax-3*time.Second), time.Second }, nil, ""},
		{"never in contact", func(f *Facts) { cut(f, 0); f.LastContact = time.Time{} }, []string{"no contact"}, "mend the network"},
		{"order going on", func(f *Facts) { f.Order = &Order{Kind: Switchover, To: "west", State: Running} }, []string{"order"}, "--watch"},
		{"being handed over", func(f *Facts) { f.Here.Fencing = 5 }, []string{"order"}, "--watch"},
		{"two actives", func(f *Facts) { f.There.Role, f.There.Epoch = site.Active, 5 }, []string{"two actives"}, "--watch"},
		{"no active", func(f *Facts) { f.Here.Role, f.Here.Serving = site.Standby, false }, []string{"no active"}, "failover"},
		{"not confirmed", func(f *Facts) { f.Here.Serving = false }, []string{"not serving"}, "tandem dr failover --to east"},
		{"halted", func(f *Facts) { f.Partitions[1].Halted = site.HaltGap }, []string{"halted"}, "do without what is gone"},
		{"created anew", func(f *Facts) { f.Partitions[1].Halted = site.HaltRecreated }, []string{"halted"}, "delete the topic t"},
		{"damaged", func(f *Facts) { f.Partitions[1].Fault = "batch 0" }, []string{"damaged"}, "kafka-delete-records"},
		{"damaged, without contact", func(f *Facts) { cut(f, time.Second); f.Partitions[1].Fault = "batch 0" }, []string{"no contact"}, "mend"},
		{"without a leader", func(f *Facts) { f.Partitions[1].Led = false }, []string{"not led"}, "--watch"},
		{"copying", func(f *Facts) { f.Partitions[1].Copied = false }, []string{"copying"}, "--watch"},
		{"lag unknown", func(f *Facts) { f.Partitions[1].Lag.Ms = nil }, []string{"lag unknown"}, "--watch"},
		{"lag", func(f *Facts) { f.Partitions[1].Lag.Ms = number(10_001) }, []string{"lag"}, "network"},
		{"lag of a topic that is bounded", func(f *Facts) { f.Partitions[1].Lag.Ms, f.Partitions[1].LagMax = number(501), 500*time.Millisecond }, []string{"lag"}, "network"},
		{"lag of a topic that is bounded, without contact", func(f *Facts) {
			cut(f, 3*time.Second)
			f.Partitions[1].Lag.Ms, f.Partitions[1].LagMax = number(501), 500*time.Millisecond
		}, []string{"no contact", "lag"}, "mend the network"},
		{"unknown lag of a topic that is bounded, behind a failover", func(f *Facts) {
			cut(f, 3*time.Second)
			f.Partitions[1].Copied, f.Partitions[1].Lag, f.Partitions[1].LagMax, f.Partitions[1].Held = false, Lag{}, 500*time.Millisecond, true
		}, []string{"no contact", "copying", "lag"}, "mend the network"},
		{"lag within the bound", func(f *Facts) { f.Partitions[1].Lag.Ms, f.Partitions[1].LagMax = number(500), 500*time.Millisecond }, nil, ""},
		{"lag of another topic than the one that is bounded", func(f *Facts) { f.Partitions[1].Lag.Ms, f.Partitions[0].LagMax = number(501), 500*time.Millisecond }, nil, ""},
		{"topic on its way", func(f *Facts) { f.Metadata.Active = "0.8" }, []string{"metadata"}, "--watch"},
		{"metadata of the standby not known", func(f *Facts) { f.Metadata.Standby = "" }, []string{"metadata"}, "--watch"},
		{"metadata of nobody known", func(f *Facts) { f.Metadata = Metadata{} }, []string{"metadata"}, "--watch"},
		{"topic left out", func(f *Facts) { f.Metadata.LeftOut = []string{"u", "v"} }, []string{"left out"}, "delete the topic u"},
		{"topic left out, so not copied", func(f *Facts) { f.Metadata.LeftOut, f.Partitions[1].Copied = []string{"t"}, false }, []string{"left out", "copying"}, "delete the topic t"},
		{"lost records on their way to archives", func(f *Facts) { f.Metadata.Archiving = 2 }, []string{"archiving"}, "--watch"},
		{"metadata without contact", func(f *Facts) { cut(f, time.Second); f.Metadata.Active = "0.8" }, []string{"no contact"}, "mend"},
		{"halted without contact", func(f *Facts) { cut(f, time.Second); f.Partitions[1].Halted = site.HaltGap }, []string{"no contact", "halted"}, "mend"},
	} {
		f := atActive()
		c.facts(f)
		s := f.Status()
		var got []string
		for _, r := range s.Reasons {
			got = append(got, r.Code)
		}
		if s.Green != (len(c.reasons) == 0) || !slices.Equal(got, c.reasons) || !strings.Contains(s.Next, c.next) || s.Green != (s.Next == "") {
			t.Errorf("%s: green %v, reasons %q, next %q; want %q, %q", c.name, s.Green, got, s.Next, c.reasons, c.next)
		}
	}
}

func TestUnknownLagIsNeverZero(t *testing.T) {
	f := atStandby()
	f.Partitions[1].Lag, f.Partitions[1].Active = Lag{}, End{Offset: unknownEnd}
	if s := f.Status(); s.Lag != nil || s.RPO.Records != nil || s.RPO.Ms != nil {
		t.Errorf("one partition's lag is not known: %+v, RPO %+v", s.Lag, s.RPO)
	}
	f = atStandby()
	if s := f.Status(); s.Lag == nil || *s.Lag.Records != 2 || *s.Lag.Ms != 21 || s.RPO.UnknownSince != nil {
		t.Errorf("%+v, RPO %+v", s.Lag, s.RPO)
	}
	cut(f, 4*time.Second)
	s := f.Status()
	if s.Lag != nil || s.Topics[0].Lag != nil {
		t.Errorf("a standby without contact tells a lag: %+v, %+v", s.Lag, s.Topics)
	}
	if *s.RPO.Records != 2 || *s.RPO.Ms != 4021 || s.RPO.UnknownSince == nil || !s.RPO.UnknownSince.Equal(noon.Add(-4*time.Second)) {
		t.Errorf("RPO %+v", s.RPO)
	}
	f.LastContact = time.Time{}
	if s := f.Status(); s.RPO.Records != nil || s.RPO.Ms != nil || s.Contact.SilenceMs != nil {
		t.Errorf("nothing is known: %+v, %+v", s.RPO, s.Contact)
	}
	active := atActive()
	cut(active, 4*time.Second)
	if s := active.Status(); s.Lag == nil || s.RPO.UnknownSince != nil {
		t.Errorf("an active knows what it has: %+v, RPO %+v", s.Lag, s.RPO)
	}
}

// A connection lasts for seconds behind the last word of a site that has stopped: what it had said by then is not how it stands.
func TestLagOfASilentActiveIsUnknown(t *testing.T) {
	f := atStandby()
	f.Quiet, f.LastContact = quietMax, noon.Add(-quietMax)
	if s := f.Status(); !s.Green || s.Lag == nil || *s.Contact.SilenceMs != quietMax.Milliseconds() || s.RPO.UnknownSince != nil {
		t.Errorf("a word late: %+v, RPO %+v", s, s.RPO)
	}
	f.Quiet, f.LastContact = 2*time.Second, noon.Add(-2*time.Second)
	s := f.Status()
	if s.Green || s.Lag != nil || s.Topics[0].Lag != nil || !s.Contact.Connected || *s.Contact.SilenceMs != 2000 {
		t.Errorf("%+v", s)
	}
	if s.RPO.UnknownSince == nil || *s.RPO.Records != 2 || *s.RPO.Ms != 2021 {
		t.Errorf("RPO %+v", s.RPO)
	}
	f = atStandby() // on a narrow line what is shipped comes, and reports wait behind it
	f.AsOf = noon.Add(-20 * time.Second)
	if s := f.Status(); s.Green || s.Lag != nil || s.Topics[0].Lag != nil || s.RPO.UnknownSince == nil || *s.RPO.Ms != 20_021 {
		t.Errorf("the newest report is 20 s old: %+v, RPO %+v", s, s.RPO)
	}
	f = atActive() // knows what it has
	f.Quiet = 2 * time.Second
	if s := f.Status(); s.Green || s.Lag == nil || s.RPO.UnknownSince != nil {
		t.Errorf("at the active: %+v, RPO %+v", s, s.RPO)
	}
}

func TestReportOfAFailover(t *testing.T) {
	f := atStandby()
	cut(f, 2*time.Second)
	band := entry.BandStart(5)
	f.Partitions[1] = Partition{Topic: "u", Led: true, Copied: true, Shipped: End{Offset: 7}, Active: End{Offset: unknownEnd}}
	f.Partitions = append(f.Partitions, Partition{Topic: "v", Led: true, Copied: true, Shipped: End{Offset: 50}, Active: End{Offset: entry.BandStart(4) + 3}})
	r := NewReport(f, Promotion{Failover, 5, noon.Add(time.Second), func(topic string, _ int32) (int64, bool) { return band, topic != "v" }})
	if r.From != "east" || r.To != "west" || r.SiteEpoch != 5 || len(r.Partitions) != 3 || r.Lost.Records != nil || r.Lost.UnknownSince == nil {
		t.Fatalf("%+v", r)
	}
	if u := r.Partitions[0]; u.Topic != "u" || u.LostRecords != nil || u.ActiveEnd != nil || *u.ShippedEnd != 7 || *u.Resumes != band || u.LostMs != nil {
		t.Errorf("what is not known: %+v", u)
	}
	if v := r.Partitions[1]; v.Topic != "v" || *v.LostRecords != 3 || v.Resumes != nil {
		t.Errorf("the gap between two bands is counted as records: %+v", v)
	}
	if p := r.Partitions[2]; *p.LostRecords != 1 || *p.ShippedEnd != 99 || *p.ActiveEnd != 100 || *p.LostMs != 3020 {
		t.Errorf("%+v", p)
	}
}

// TestReportKnowsThatWhatWasShippedExisted: what the active has said of itself last may be older than what came from it.
func TestReportKnowsThatWhatWasShippedExisted(t *testing.T) {
	f := atStandby()
	cut(f, 2*time.Second)
	f.Partitions = f.Partitions[:1]
	f.Partitions[0].Shipped = End{130, time.Date(2004, 1, 2, 3, 4, 5, 0, time.UTC)} // a producer's idea of the time
	r := NewReport(f, Promotion{Failover, 5, noon, func(string, int32) (int64, bool) { return entry.BandStart(5), true }})
	if p := r.Partitions[0]; *p.ActiveEnd != 130 || *p.ShippedEnd != 130 || *p.LostRecords != 0 || *r.Lost.Records != 0 || *p.LostMs != 2000 {
		t.Errorf("%+v, lost %+v", p, r.Lost)
	}
}

// TestReportOfAnActiveThatHasAskedNobody: it was started again, and does not know whether the other site took its place meanwhile.
func TestReportOfAnActiveThatHasAskedNobody(t *testing.T) {
	report := func(serving, known bool) Report {
		f := atActive()
		f.Here.Serving, f.There.Known = serving, known
		f.There.Role, f.There.Epoch = site.Standby, 0
		return NewReport(f, Promotion{Failover, 5, noon, func(string, int32) (int64, bool) { return entry.BandStart(5), true }})
	}
	r := report(false, false)
	if p := r.Partitions[0]; p.ActiveEnd != nil || p.ShippedEnd != nil || p.LostRecords != nil || r.Lost != (RPO{}) {
		t.Errorf("%+v, lost %+v", p, r.Lost)
	}
	for _, r := range []Report{report(true, false), report(false, true)} {
		if r.Lost.Records == nil || *r.Lost.Records != 0 {
			t.Errorf("%+v", r.Lost)
		}
	}
}

func TestReportOfASwitchover(t *testing.T) {
	f := atStandby()
	r := NewReport(f, Promotion{Switchover, 5, noon, func(string, int32) (int64, bool) { return 120, true }})
	for _, p := range r.Partitions {
		if *p.LostRecords != 0 || *p.LostMs != 0 || *p.ShippedEnd != 120 || *p.Resumes != 120 {
			t.Errorf("%+v", p)
		}
	}
	if *r.Lost.Records != 0 || *r.Lost.Ms != 0 || r.Lost.UnknownSince != nil {
		t.Errorf("%+v", r.Lost)
	}
}

func TestDecideRecopy(t *testing.T) {
	for _, c := range []struct {
		name  string
		facts func(*Facts)
		topic string
		code  Code
		text  string
	}{
		{"all is well", func(*Facts) {}, "t", CodeDone, "Drop t-1 at west and copy it whole from east?"},
		{"halted", func(f *Facts) { f.Partitions[1].Halted = site.HaltDivergent }, "t", CodeDone, "Drop t-1"},
		{"no contact", func(f *Facts) { cut(f, time.Second) }, "t", CodeRefused, "nothing to copy from"},
		{"the active does not serve", func(f *Facts) { f.There.Serving = false }, "t", CodeRefused, "nothing to copy from"},
		{"no active", func(f *Facts) { f.There.Role = site.Standby }, "t", CodeRefused, "nothing to copy from"},
		{"being handed over", func(f *Facts) { f.Here.Fencing = 5 }, "t", CodeRefused, "handed over"},
		{"the active is fenced", func(f *Facts) { f.There.Fencing = 5 }, "t", CodeRefused, "hands the active role over"},
		{"topics on their way", func(f *Facts) { f.Metadata.Active = "0.8" }, "t", CodeRefused, "newest topics"},
		{"of an active", func(f *Facts) { f.Here, f.There = f.There, f.Here }, "t", CodeRefused, "the standby has to"},
		{"unknown", func(*Facts) {}, "u", CodeUsage, "no partition u-1"},
	} {
		f := atStandby()
		c.facts(f)
		r, err := f.DecideRecopy(RecopyOrder{Topic: c.topic, Partition: 1})
		code, text := CodeDone, r.Question
		if err != nil {
			code, text = err.Code, err.Text
		}
		if code != c.code || !strings.Contains(text, c.text) {
			t.Errorf("%s: code %d, %q; want %d, %q", c.name, code, text, c.code, c.text)
		}
	}
}
