package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// fileRange is a part of a file.
type fileRange struct {
	f      vfs.File
	pos, n int64
}

func (r fileRange) File() (vfs.File, int64, int64) { return r.f, r.pos, r.n }

func (r fileRange) ReadInto(b []byte) error {
	_, err := r.f.ReadAt(b, r.pos)
	return err
}

// realBatch is an Append of one batch as it is stored, whose record has n bytes.
func realBatch(t testing.TB, offset, n int) site.Append {
	t.Helper()
	value := make([]byte, n)
	for i := range value {
		value[i] = byte(i*7 + offset + i>>8)
	}
	builder := record.NewBuilder()
	builder.ProducerID, builder.ProducerEpoch, builder.BaseSequence = record.NoProducerID, -1, record.NoSequence
	builder.Append(1, nil, value)
	b, err := builder.Batch()
	if err != nil {
		t.Fatal(err)
	}
	b.SetBaseOffset(int64(offset))
	b.SetLeaderEpoch(4 << 18)
	rows, _, err := entry.RowsOf(b)
	if err != nil {
		t.Fatal(err)
	}
	return site.Append{Partition: partition(0), Epoch: 4, Prev: site.Position{Next: int64(offset), Epoch: -1}, Payload: b, Rows: rows}
}

// stored puts the payload of m into a file, behind other bytes.
func stored(t testing.TB, m site.Append) Stored {
	t.Helper()
	f, err := vfs.OS{}.OpenFile(filepath.Join(t.TempDir(), "segment"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	const pos = 4099
	if _, err := f.WriteAt(m.Payload, pos); err != nil {
		t.Fatal(err)
	}
	from := fileRange{f, pos, int64(len(m.Payload))}
	m.Payload = nil
	return Stored{m, from}
}

// arrivals are Appends as they came.
type arrivals struct {
	sync.Mutex
	got []site.Append
}

func (a *arrivals) receive(_ PeerID, m any, release func()) {
	defer release()
	if m, ok := m.(site.Append); ok {
		m.Payload = slices.Clone(m.Payload)
		a.Lock()
		defer a.Unlock()
		a.got = append(a.got, m)
	}
}

func (a *arrivals) all() []site.Append {
	a.Lock()
	defer a.Unlock()
	return slices.Clone(a.got)
}

// TestStoredAppendsArriveAsTheyAre: from a file or through a buffer, whatever the connection and the size.
func TestStoredAppendsArriveAsTheyAre(t *testing.T) {
	ours := newAuthority(t)
	for name, o := range map[string]Options{"plain": {}, "zstd": {Compress: true}, "TLS": {TLS: ours.config(t)}, "limited": {RateLimit: 100 << 20}} {
		t.Run(name, func(t *testing.T) {
			var a arrivals
			theirs := Options{Receive: a.receive, TLS: o.TLS}
			l := listener(t)
			_, w := over(t, l, l.Addr().String(), theirs, o)
			var want []site.Append
			sent := make(chan bool, 10)
			for i, n := range []int{0, 1, 100, 65_536, 3 << 20} {
				m := realBatch(t, i, n)
				want = append(want, m)
				w.Send(east().ID(), stored(t, m), func(ok bool) { sent <- ok })
			}
			until(t, "arrived", func() bool { return len(a.all()) == len(want) })
			for i, got := range a.all() {
				if !<-sent {
					t.Errorf("append %d arrived, and was dropped", i)
				}
				if !bytes.Equal(got.Payload, want[i].Payload) || !slices.Equal(got.Rows, want[i].Rows) || got.Prev != want[i].Prev {
					t.Errorf("append %d came as %+v, %d bytes", i, got.Rows, len(got.Payload))
				}
			}
		})
	}
}

// TestDamagedBatchIsPassedOver: what is wrong on the sender's disk is not taken, and everything else goes on.
func TestDamagedBatchIsPassedOver(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("payloads do not go from files here")
	}
	var a arrivals
	l := listener(t)
	e, w := over(t, l, l.Addr().String(), Options{Receive: a.receive, Credit: 300_000}, Options{})
	const n = 100_000
	for i := range 20 { // far more than the credit, which has to come back
		damaged := realBatch(t, i, n)
		m := stored(t, damaged)
		file, pos, _ := m.From.File()
		if _, err := file.WriteAt([]byte{^damaged.Payload[n/2]}, pos+n/2); err != nil {
			t.Fatal(err)
		}
		w.Send(east().ID(), m, nil)
	}
	good := realBatch(t, 99, n)
	w.Send(east().ID(), stored(t, good), nil)
	until(t, "arrived", func() bool { return len(a.all()) > 0 })
	if got := a.all(); len(got) != 1 || !bytes.Equal(got[0].Payload, good.Payload) {
		t.Errorf("%d appends came, the first behind offset %d", len(got), got[0].Prev.Next)
	}
	if s := e.Status().Peers[0]; s.Sessions != 1 {
		t.Errorf("%d sessions: %s", s.Sessions, s.LastError)
	}
}

// TestFileThatEndsEarlyEndsTheSession: the frame has promised the bytes.
func TestFileThatEndsEarlyEndsTheSession(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("payloads do not go from files here")
	}
	var a arrivals
	l := listener(t)
	_, w := over(t, l, l.Addr().String(), Options{Receive: a.receive}, Options{BackoffMax: 10 * time.Millisecond})
	m := stored(t, realBatch(t, 0, 100_000))
	file, pos, _ := m.From.File()
	if err := file.Truncate(pos + 50_000); err != nil {
		t.Fatal(err)
	}
	sent := make(chan bool, 1)
	w.Send(east().ID(), m, func(ok bool) { sent <- ok })
	if <-sent {
		t.Error("sent, it is said")
	}
	until(t, "another session", func() bool { return w.Connected(east().ID()) && w.Status().Peers[0].Sessions == 2 })
	if n := len(a.all()); n != 0 {
		t.Errorf("%d taken", n)
	}
}

// batchesFrame is the frame of m as it goes from a file.
func batchesFrame(m site.Append) []byte {
	frame := append(m.EncodeHead(make([]byte, headerLen), len(m.Payload)), m.Payload...)
	h := header{kind: kind(site.KindAppend), flags: flagBatches, size: len(frame) - headerLen}
	h.crc = checksum(site.HeadOf(frame[headerLen:]))
	putHeader(frame, h)
	return frame
}

// TestFlippedBitOfAStoredAppend: in the head of the frame it ends the session; in the batches, which have their own checksums, it loses the append.
func TestFlippedBitOfAStoredAppend(t *testing.T) {
	m := realBatch(t, 0, 40)
	frame := batchesFrame(m)
	batches := len(frame) - len(m.Payload)
	for bit := range 8 * len(frame) {
		synctest.Test(t, func(t *testing.T) {
			net := newPipes()
			e := start(t, east(), Options{Listener: net.listen("east:1")})
			control, data := link(t, net, 1, 1<<20)
			control.ignore()
			data.ignore()
			flipped := bytes.Clone(frame)
			flipped[bit/8] ^= 1 << (bit % 8)
			go func() { _, _ = data.Write(append(flipped, frame...)) }() // ends with the connection
			synctest.Wait()
			taken := e.received()
			if bit/8 < batches && (len(taken) != 0 || e.Connected(west().ID()) || !strings.Contains(e.Status().Peers[0].LastError, "checksum")) {
				t.Fatalf("bit %d: %d messages were taken, %+v", bit, len(taken), e.Status().Peers[0])
			}
			if bit/8 >= batches && (len(taken) != 1 || !bytes.Equal(taken[0].message.(site.Append).Payload, m.Payload) || !e.Connected(west().ID())) {
				t.Fatalf("bit %d: %d messages were taken, %+v", bit, len(taken), e.Status().Peers[0])
			}
		})
	}
}

// TestOlderPeerGetsWholeChecksums: a peer of version 3 is sent what it understands, and what it cannot mean ends the session.
func TestOlderPeerGetsWholeChecksums(t *testing.T) {
	l := listener(t)
	e := start(t, east(), Options{Listener: l})
	h := hello{Handshake: west(), session: 1, count: 1, credit: 1 << 20}
	var conns [2]stranger
	for i := range conns {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		conns[i] = stranger{t, c}
		h.index = uint8(i)
		first := opening()
		first[5] = versionBatches - 1
		if err := conns[i].greetWith(first, h, nil); err != nil {
			t.Fatal(err)
		}
	}
	conns[0].ignore()
	until(t, "connected", func() bool { return e.Connected(west().ID()) })
	m := realBatch(t, 0, 70_000)
	e.Send(west().ID(), stored(t, m), nil)
	for {
		var b [headerLen]byte
		if _, err := io.ReadFull(conns[1], b[:]); err != nil {
			t.Fatal(err)
		}
		f, err := parseHeader(b[:])
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, f.size)
		if _, err := io.ReadFull(conns[1], body); err != nil {
			t.Fatal(err)
		}
		if f.kind != kind(site.KindAppend) {
			continue // a ping
		}
		if f.flags != 0 || f.crc != checksum(body) || !bytes.HasSuffix(body, m.Payload) {
			t.Fatalf("%+v", f)
		}
		break
	}
	conns[1].ignore()
	conns[1].say(batchesFrame(m))
	until(t, "the end of the session", func() bool { return !e.Connected(west().ID()) })
	if len(e.received()) != 0 || !strings.Contains(e.Status().Peers[0].LastError, "flags 0x2 in version 3") {
		t.Errorf("%d taken, %s", len(e.received()), e.Status().Peers[0].LastError)
	}
}

// TestWhatCannotBeReadIsNotSent: the session goes on.
func TestWhatCannotBeReadIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, w := pair(t, newPipes(), Options{}, Options{})
		connected(t, e, w)
		m := realBatch(t, 0, 100)
		size := int64(len(m.Payload))
		m.Payload = nil
		dropped := false
		w.Send(e.id(), Stored{m, brokenRange(size)}, func(sent bool) { dropped = !sent })
		w.Send(e.id(), realBatch(t, 1, 100), nil)
		synctest.Wait()
		if got := e.received(); !dropped || len(got) != 1 || !e.Connected(w.id()) {
			t.Errorf("%d taken, dropped: %v, %+v", len(got), dropped, e.Status())
		}
	})
}

// brokenRange is so many bytes that cannot be read.
type brokenRange int64

func (r brokenRange) File() (vfs.File, int64, int64) { return nil, 0, int64(r) }
func (brokenRange) ReadInto([]byte) error            { return errors.New("input/output error") }
