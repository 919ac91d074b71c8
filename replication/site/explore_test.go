package site

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/tandembroker/tandem/storage/entry"
)

// action is one step of a run. a and b carry all chance, so that a run is its list of actions.
type action struct {
	kind kind
	a, b int
}

type kind int

const (
	doDeliver kind = iota
	doDouble
	doLose
	doApply
	doSync
	doStore
	doLook
	doTick
	doJob
	doProduce
	doFetch
	doCommit
	doJoin
	doCrash
	doRestart
	doTime
	doSkew
	doCut
	doSwitchover
	doAbortSwitchover
	doFailover
	doAbortFailover
	doSelfPromote
	doMove
	doDelete
	doCalm // both sites get some time without faults: what is deep is reached more often
	kinds
)

var kindNames = [kinds]string{"deliver", "deliver and keep", "lose", "apply", "sync", "store record", "look", "tick", "job", "produce", "fetch",
	"commit", "join", "crash", "restart", "time", "skew", "cut link", "switchover", "abort switchover", "failover", "abort failover",
	"self-promote", "move", "delete records", "calm"}

var weights = [kinds]int{doDeliver: 90, doDouble: 4, doLose: 4, doApply: 40, doSync: 30, doStore: 14, doLook: 24, doTick: 10, doJob: 10, doProduce: 24,
	doFetch: 12, doCommit: 8, doJoin: 5, doCrash: 3, doRestart: 9, doTime: 8, doSkew: 3, doCut: 2, doSwitchover: 3, doAbortSwitchover: 3,
	doFailover: 5, doAbortFailover: 1, doSelfPromote: 1, doMove: 2, doDelete: 3, doCalm: 0}

// act makes one step; false = it was not possible, and nothing happened.
func (w *world) act(x action) bool {
	s := x.a & 1
	ok := false
	switch x.kind {
	case doDeliver:
		ok = w.deliver(x.a, false)
	case doDouble:
		ok = w.deliver(x.a, true)
	case doLose:
		if len(w.net) > 0 {
			i := x.a % len(w.net)
			w.net, ok = slices.Delete(slices.Clone(w.net), i, i+1), true
		}
	case doApply:
		ok = anyOf(x.b, func(p int) bool { return w.apply(s, p) })
	case doSync:
		ok = anyOf(x.b, func(p int) bool { return w.sync(s, p) })
	case doStore:
		ok = w.storeRecord(s)
	case doLook:
		ok = anyOf(x.b, func(p int) bool { return w.look(s, p) })
	case doTick:
		ok = w.tick(s)
	case doJob:
		ok = anyOf(x.b, func(p int) bool { return w.job(s, p) })
	case doProduce:
		ok = w.produce(s, x.b%dataPartitions, x.a>>1%3)
	case doFetch:
		ok = w.fetch(s, x.b%dataPartitions)
	case doCommit:
		ok = w.commit(s)
	case doJoin:
		ok = w.join(s)
	case doCrash:
		ok = w.crash(s, x.b)
	case doRestart:
		ok = w.restart(s)
	case doTime:
		w.now, ok = w.now+1, true
	case doSkew: // a clock goes ahead at once, and back only as time passes: it never runs backwards
		if w.skew[s] == 0 {
			w.skew[s] = 1
		} else {
			w.skew[s] = 0
			w.now++
		}
		ok = true
	case doCut:
		w.cut, ok = x.b == 1, true
	case doMove:
		ok = w.move(s, x.b, x.a&2 != 0)
	case doDelete:
		ok = w.deleteRecords(s, x.b, int64(x.a>>1%2))
	case doCalm:
		for range x.b + 1 {
			w.settle()
		}
		ok = true
	default:
		ok = w.order(s, x.kind)
	}
	if ok {
		w.checkLogs()
	}
	return ok
}

// anyOf does something at the first partition, from p on, that has something to do.
func anyOf(p int, do func(p int) bool) bool {
	for i := range partitions {
		if do((p + i) % partitions) {
			return true
		}
	}
	return false
}

func (w *world) tick(s int) bool {
	if !w.m[s].up {
		return false
	}
	w.step(s, Tick{})
	for p := range partitions {
		w.stepLink(s, p, Tick{})
	}
	return true
}

// order is an order of the operator.
func (w *world) order(s int, k kind) bool {
	if !w.m[s].up {
		return false
	}
	var in Input
	switch k {
	case doSwitchover:
		in = Switchover{}
	case doAbortSwitchover:
		in = AbortSwitchover{}
	case doFailover:
		in = Failover{ActiveIsDown: w.mode == lying || !w.m[1-s].up}
	case doAbortFailover:
		in = AbortFailover{}
	case doSelfPromote:
		in = SelfPromote{}
	}
	return w.step(s, in) == nil
}

// random makes the run of a seed and answers with the actions that were possible.
func random(m mode, seed uint64, steps int) (*world, []action) {
	rng := rand.New(rand.NewPCG(seed, uint64(m)))
	w := newWorld(m)
	like := taste(m, rng)
	sum := 0
	for _, n := range like {
		sum += n
	}
	var run []action
	for range steps {
		for range 12 {
			n, k := rng.IntN(sum), kind(0)
			for n >= like[k] {
				n -= like[k]
				k++
			}
			x := action{k, rng.IntN(netMax), rng.IntN(partitions)}
			if (k == doDeliver || k == doDouble) && rng.IntN(2) == 0 {
				x.a = 0
			}
			if w.act(x) {
				run = append(run, x)
				break
			}
		}
		if w.violation != "" {
			break
		}
	}
	return w, run
}

// taste gives every seed other likes, so that rare orders meet.
func taste(m mode, rng *rand.Rand) [kinds]int {
	like := weights
	for k := range like {
		switch rng.IntN(8) {
		case 0:
			like[k] /= 4
		case 1:
			like[k] *= 3
		case 2:
			switch kind(k) {
			case doDouble, doLose, doCrash, doMove, doCut, doSkew, doSwitchover, doFailover, doAbortSwitchover, doAbortFailover:
				like[k] = 0
			}
		}
	}
	var more map[kind]int
	style := rng.IntN(6)
	if m == leased && style == 5 {
		style = 1
	}
	switch style {
	case 0: // failovers to and fro, with a busy consumer
		more = map[kind]int{doCrash: 4, doRestart: 3, doFailover: 4, doFetch: 4, doCommit: 5, doJoin: 2}
	case 1: // clocks
		more = map[kind]int{doSkew: 4, doFailover: 3, doTick: 2, doTime: 2}
		like[doCrash] /= 3
	case 2: // switchovers, that are given up as often
		more = map[kind]int{doSwitchover: 6, doAbortSwitchover: 6, doSync: 2, doDeliver: 2, doLook: 2, doApply: 2, doTick: 2}
		like[doFailover] *= rng.IntN(2)
		like[doCalm] = 16
	case 3: // all of it, between times in which the sites catch up
		like[doCalm] = 6
	}
	for k, f := range more {
		like[k] = max(like[k], weights[k]) * f
	}
	return like
}

// replay makes a run again; actions that are not possible any more are left out.
func replay(m mode, run []action, lines func(string)) *world {
	w := newWorld(m)
	w.lines = lines
	for _, x := range run {
		if w.violation != "" {
			break
		}
		if lines != nil {
			lines(actionName(x))
		}
		w.act(x)
	}
	return w
}

// heal ends the faults and has a sensible operator; then it checks what must hold in the end.
func heal(w *world) {
	w.cut = false
	last := [dataPartitions]int{-1, -1}
	w.trace("the faults stop")
	for round := 0; round < 50 && w.violation == ""; round++ {
		w.now++
		active := -1
		for s := range w.m {
			w.restart(s)
			w.storeRecord(s)
			if w.m[s].site.Serving() {
				active = s
				if round > 8 {
					w.order(s, doAbortSwitchover)
				}
			} else if round > 3 {
				w.order(s, doAbortFailover)
			}
		}
		if active < 0 && round > 12 && round%6 == 0 { // both wait for each other: the one of the higher epoch
			s := 0
			if w.m[1].rec.Epoch > w.m[0].rec.Epoch {
				s = 1
			}
			w.step(s, Failover{ActiveIsDown: true})
		}
		w.settle()
		if active >= 0 && round > 10 {
			w.finish(active, round, &last)
		}
		w.checkLogs()
	}
	if w.violation == "" {
		w.checkEnd(last)
	}
}

// settle lets both sites do what they have to do.
func (w *world) settle() {
	for s := range w.m {
		w.tick(s)
		for p := range partitions {
			w.look(s, p)
			for w.apply(s, p) {
			}
			w.sync(s, p)
			w.job(s, p)
		}
	}
	for i := 0; i < 2*netMax && len(w.net) > 0 && w.violation == ""; i++ {
		w.deliver(0, false)
	}
}

// finish sends again what producers have in flight, then one record more each.
func (w *world) finish(active, round int, last *[dataPartitions]int) {
	for c := range w.cl {
		cl := &w.cl[c]
		if len(cl.flight) > 0 {
			w.produce(active, c, 1)
		} else if round > 25 && cl.made < 2*recordsMax && (last[c] < 0 || cl.dropped[last[c]]) {
			if cl.pid == 0 {
				w.initProducer(active, c)
			}
			last[c] = w.newRecord(c)
		}
	}
}

// failure runs a list of actions and heals; "" = nothing was violated.
func failure(m mode, run []action) string {
	w := replay(m, run, nil)
	if w.violation == "" {
		heal(w)
	}
	return w.violation
}

// shrink leaves out what is not needed to violate the same rule, as far as that takes no more than a few hundred tries.
func shrink(m mode, run []action) []action {
	rule, _, _ := strings.Cut(failure(m, run), ":")
	tries := 400
	for size := len(run) / 2; size > 0; size /= 2 {
		for i := 0; i+size <= len(run) && tries > 0; tries-- {
			less := slices.Delete(slices.Clone(run), i, i+size)
			if got, _, _ := strings.Cut(failure(m, less), ":"); got == rule {
				run = less
			} else {
				i += size
			}
		}
	}
	return run
}

func actionName(x action) string {
	name := kindNames[x.kind]
	switch x.kind {
	case doDeliver, doDouble, doLose:
		return fmt.Sprintf("%s #%d", name, x.a)
	case doApply, doSync, doLook, doJob, doMove, doDelete:
		return fmt.Sprintf("%s %s from %s on", name, siteName(x.a&1), partName(x.b))
	case doProduce, doFetch:
		return fmt.Sprintf("%s %s %s", name, siteName(x.a&1), partName(x.b%dataPartitions))
	case doTime, doCalm:
		return name
	case doCut:
		return fmt.Sprintf("%s: %v", name, x.b == 1)
	}
	return fmt.Sprintf("%s %s", name, siteName(x.a&1))
}

func headerName(h *entry.Header) string {
	names := map[entry.Kind]string{entry.Data: "data", entry.Void: "void", entry.EpochBase: "epoch base", entry.Promote: "promote", entry.Follow: "follow",
		entry.Fence: "fence", entry.Unfence: "un-fence", entry.TruncateTo: "truncate-to", entry.LogStart: "log start"}
	text := fmt.Sprintf("%s, epoch %d", names[h.Kind], h.SiteEpoch)
	for _, r := range h.Rows {
		text += fmt.Sprintf(", r%d@%s", r.MaxTimestamp, offName(r.BaseOffset))
	}
	switch h.Kind {
	case entry.Void:
		text += fmt.Sprintf(" (%v)", entry.VoidReason(h.Body[9]))
	case entry.Promote:
		p, _ := entry.ParsePromotion(h.Body)
		text += fmt.Sprintf(" %+v", p)
	case entry.Follow:
		f, _ := entry.ParseFollowed(h.Body)
		text += fmt.Sprintf(" %+v", f)
	case entry.TruncateTo:
		c, _ := entry.ParseTruncation(h.Body)
		text += " " + offName(c.Offset)
	case entry.LogStart:
		offset, _, _ := entry.ParseLogStart(h.Body)
		text += " " + offName(offset)
	}
	return text
}

func letterName(l letter) string {
	switch {
	case l.back != nil:
		return fmt.Sprintf("answer %+v", *l.back)
	case l.call != nil:
		return fmt.Sprintf("call of client %d, r%d, sequence %d", l.call.client, l.call.rec, l.call.seq)
	}
	text := strings.TrimPrefix(fmt.Sprintf("%T", l.msg), "site.")
	switch m := l.msg.(type) {
	case Append:
		text += fmt.Sprintf(" %s epoch %d behind %v:", partName(l.part), m.Epoch, m.Prev)
		for _, r := range m.Rows {
			text += fmt.Sprintf(" r%d@%s", r.MaxTimestamp, offName(r.BaseOffset))
		}
		return text
	case Compared:
		return fmt.Sprintf("%s %s epoch %d %+v", text, partName(l.part), m.Epoch, m.Lineage.Spans)
	case Ack:
		return fmt.Sprintf("%s %s epoch %d end %v rejected %v", text, partName(l.part), m.Epoch, m.End, m.Rejected)
	case Drain:
		return fmt.Sprintf("%s %s epoch %d target %d end %v boot %d", text, partName(l.part), m.Epoch, m.Target, m.End, m.Boot)
	}
	if l.part >= 0 {
		return fmt.Sprintf("%s %s", text, partName(l.part))
	}
	return fmt.Sprintf("%s %+v", text, l.msg)
}
