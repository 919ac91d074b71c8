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
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
	"github.com/tandembroker/tandem/storage/vfs/sendfile/sendfiletest"
)

// fileRange is a part of a file.
type fileRange struct {
	f      vfs.File
	pos, n int64
	failed *atomic.Int32
}

func (r fileRange) File() (vfs.File, int64, int64) { return r.f, r.pos, r.n }

func (r fileRange) ReadInto(b []byte) error {
	_, err := r.f.ReadAt(b, r.pos)
	return err
}

func (r fileRange) Failed(error) { r.failed.Add(1) }

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
	from := fileRange{f, pos, int64(len(m.Payload)), new(atomic.Int32)}
	m.Payload = nil
	return Stored{m, from}
}

// arrivals are Appends as they came.
type arrivals struct {
	sync.Mutex
	got     []site.Append
	damaged int
}

func (a *arrivals) receive(_ PeerID, m any, release func()) {
	defer release()
	a.Lock()
	defer a.Unlock()
	switch m := m.(type) {
	case site.Append:
		m.Payload = slices.Clone(m.Payload)
		a.got = append(a.got, m)
	case Damaged:
		if m.Partition == partition(0) && errors.Is(m.Err, entry.ErrCorrupt) {
			a.damaged++
		}
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
	if a.damaged != 20 {
		t.Errorf("%d are said to be damaged", a.damaged)
	}
	if s := e.Status().Peers[0]; s.Sessions != 1 {
		t.Errorf("%d sessions: %s", s.Sessions, s.LastError)
	}
}

// unreadable is a file whose disk gives an error from byte end on; the kernel knows it where conn is so.
type unreadable struct {
	vfs.File
	end int64
}

func (f unreadable) ReadAt(b []byte, pos int64) (int, error) {
	if pos+int64(len(b)) > f.end {
		return 0, errors.New("input/output error")
	}
	return f.File.ReadAt(b, pos)
}

// TestWhatAFileDoesNotGiveIsPassedOver: the frame has promised the bytes, and the session goes on all the same: of a damaged disk one partition has
// to suffer, and not the link, again and again.
func TestWhatAFileDoesNotGiveIsPassedOver(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("payloads do not go from files here")
	}
	const size = 300_000
	for name, spoil := range map[string]func(m *Stored, r *fileRange){
		"file that is shorter": func(_ *Stored, r *fileRange) {
			if err := r.f.Truncate(r.pos + size/2); err != nil {
				t.Fatal(err)
			}
		},
		"file that ends in front of it": func(_ *Stored, r *fileRange) {
			if err := r.f.Truncate(r.pos); err != nil {
				t.Fatal(err)
			}
		},
		"closed file": func(_ *Stored, r *fileRange) { r.f.Close() },
		"bad sector":  func(_ *Stored, r *fileRange) { r.f = unreadable{r.f, r.pos + size/2} },
	} {
		t.Run(name, func(t *testing.T) {
			var a arrivals
			l := listener(t)
			e, w := over(t, l, l.Addr().String(), Options{Receive: a.receive}, Options{})
			m := stored(t, realBatch(t, 0, size))
			r := m.From.(fileRange)
			spoil(&m, &r)
			m.From = r
			sent := make(chan bool, 1)
			w.Send(east().ID(), m, func(ok bool) { sent <- ok })
			good := realBatch(t, 99, size)
			w.Send(east().ID(), stored(t, good), nil)
			until(t, "arrived", func() bool { return len(a.all()) > 0 })
			if got := a.all(); len(got) != 1 || !bytes.Equal(got[0].Payload, good.Payload) || a.damaged != 1 {
				t.Errorf("%d appends came, %d damaged", len(got), a.damaged)
			}
			if !<-sent || r.failed.Load() != 1 {
				t.Errorf("the file has failed %d times", r.failed.Load())
			}
			if s := e.Status().Peers[0]; s.Sessions != 1 {
				t.Errorf("%d sessions: %s", s.Sessions, s.LastError)
			}
		})
	}
}

// TestFileSystemWithoutSendfile: what the kernel does not send from there is copied. It is no damage.
func TestFileSystemWithoutSendfile(t *testing.T) {
	for name, sent := range map[string]int{"at all": 0, "any more": 1} {
		t.Run(name, func(t *testing.T) {
			var a arrivals
			l := listener(t)
			_, w := over(t, l, l.Addr().String(), Options{Receive: a.receive}, Options{})
			want := realBatch(t, 0, 12<<20) // more than a connection takes at once
			m := stored(t, want)
			r := m.From.(fileRange)
			r.f = sendfiletest.Refused(t, r.f, sent)
			m.From = r
			w.Send(east().ID(), m, nil)
			until(t, "arrived", func() bool { a.Lock(); defer a.Unlock(); return len(a.got)+a.damaged > 0 })
			if got := a.all(); len(got) != 1 || !bytes.Equal(got[0].Payload, want.Payload) || r.failed.Load() != 0 {
				t.Errorf("%d appends came, %d damaged; the file has failed %d times", len(got), a.damaged, r.failed.Load())
			}
		})
	}
}

// TestStuckPeerOfAStoredAppend: who takes nothing for a timeout is left, in the middle of a file, and what was to go there is dropped once.
func TestStuckPeerOfAStoredAppend(t *testing.T) {
	l := listener(t)
	w := start(t, west(), Options{Listener: l, Timeout: 4 * time.Second})
	h := hello{Handshake: east(), session: 1, count: 1, credit: 64 << 20}
	var conns [2]stranger
	for i := range conns {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		conns[i] = stranger{t, c}
		h.index = uint8(i)
		if err := conns[i].greetWith(opening(), h, nil); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "connected", func() bool { return w.Connected(east().ID()) })
	for _, c := range conns { // it is not silent, else its silence would end the session
		go func() { // ends with the connection
			for err := error(nil); err == nil; time.Sleep(50 * time.Millisecond) {
				_, err = c.Write(appendNumber(nil, kindPing, 0))
			}
		}()
	}
	m := stored(t, realBatch(t, 0, 32<<20))
	sent := make(chan bool, 2)
	w.Send(east().ID(), m, func(ok bool) { sent <- ok })
	if <-sent {
		t.Error("sent, it is said")
	}
	until(t, "the end of the session", func() bool { return !w.Connected(east().ID()) })
	if text := w.Status().Peers[0].LastError; !strings.Contains(text, "could not be written") {
		t.Error(text)
	}
	if n := m.From.(fileRange).failed.Load(); n != 0 || len(sent) != 0 {
		t.Errorf("the file is said to have failed %d times, and told %d times more", n, len(sent))
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
			if bit/8 < batches {
				return
			}
			if len(taken) != 2 || !e.Connected(west().ID()) {
				t.Fatalf("bit %d: %d messages were taken, %+v", bit, len(taken), e.Status().Peers[0])
			}
			if _, ok := taken[0].message.(Damaged); !ok || !bytes.Equal(taken[1].message.(site.Append).Payload, m.Payload) {
				t.Fatalf("bit %d: %+v", bit, taken)
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
func (brokenRange) Failed(error)                     {}
