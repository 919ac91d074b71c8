// Command recoverlogs opens data directories with storage.Store, as a start of the broker does, and writes what it finds in
// them, for programs that hold it against what clients were promised (bench/chaos/trace). It reads the paths of data
// directories from its standard input, one a line, and answers each with one gob value of type answer on its standard output.
// A directory is opened twice; what the second opening finds must be the same.
package main

import (
	"bufio"
	"bytes"
	"encoding/gob"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"reflect"
	"time"

	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/log"
)

// answer is what was found in one directory. bench/chaos/trace has the same type, by the names of its fields.
type answer struct {
	Err    string // the directory could not be opened, read or closed
	Second string // the second opening failed, or found something else
	Logs   []found
}

// found is one Raft group.
type found struct {
	Folder      string // "" = the metadata Raft group
	Group       string
	Offline     string
	Start, End  int64 // offsets
	First, Last uint64
	Vote        string
	Snapshot    uint64
	Headers     uint32 // CRC of the entries in memory
	Records     []byte // all record batches
}

func main() {
	inline := flag.Int("inline", 0, "journal.inline.max.bytes of the broker that wrote the directories")
	journal := flag.Int("journal", 0, "its journal.segment.bytes")
	flag.Parse()
	if err := serve(os.Stdin, os.Stdout, storage.Options{InlineMax: *inline, JournalSegmentBytes: *journal}); err != nil {
		fmt.Fprintln(os.Stderr, "recoverlogs:", err)
		os.Exit(1)
	}
}

func serve(r io.Reader, w io.Writer, o storage.Options) error {
	out := gob.NewEncoder(w)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if err := out.Encode(recoverTwice(lines.Text(), o)); err != nil {
			return err
		}
	}
	return lines.Err()
}

func recoverTwice(dir string, o storage.Options) answer {
	first, err := recoverOnce(dir, o)
	if err != nil {
		return answer{Err: err.Error()}
	}
	a := answer{Logs: first}
	second, err := recoverOnce(dir, o)
	switch {
	case err != nil:
		a.Second = err.Error()
	case len(first) != len(second):
		a.Second = fmt.Sprintf("%d Raft groups, then %d", len(first), len(second))
	default:
		for i := range first {
			if !reflect.DeepEqual(first[i], second[i]) {
				a.Second += fmt.Sprintf("%s: %s, then %s; ", first[i].Folder, first[i], second[i])
			}
		}
	}
	return a
}

// String leaves out the records.
func (f found) String() string {
	return fmt.Sprintf("offline %q, offsets [%d, %d), indexes [%d, %d], vote %s, snapshot %d, headers %#x, %d bytes with CRC %#x",
		f.Offline, f.Start, f.End, f.First, f.Last, f.Vote, f.Snapshot, f.Headers, len(f.Records), crc32.ChecksumIEEE(f.Records))
}

func recoverOnce(dir string, o storage.Options) (all []found, err error) {
	o.Dirs, o.NodeID, o.MetaNoSync = []string{dir}, 1, true
	o.ReserveBytes, o.BallastBytes, o.MarkInterval, o.MarkSaveInterval, o.CheckpointInterval = -1, -1, time.Hour, time.Hour, time.Hour
	s, err := storage.Open(o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close(false)) }() // as a killed process
	for _, g := range s.Groups() {
		f, err := read(g)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g, err)
		}
		all = append(all, f)
	}
	return all, s.Failed()
}

func read(g *storage.Group) (found, error) {
	snapshot, _ := g.Snapshot()
	f := found{
		Folder: g.Folder(), Group: g.ID().String(), First: g.FirstIndex(), Last: g.LastIndex(), Vote: fmt.Sprint(g.Vote()),
		Snapshot: snapshot.Index,
	}
	if f.Offline = reason(g.Offline()); f.Offline != "" { // a finding, not a failure
		return f, nil
	}
	crc := crc32.NewIEEE()
	for i := f.First; i > 0 && i <= f.Last; i++ {
		e, ok := g.Entry(i)
		if !ok {
			return f, fmt.Errorf("entry %d of [%d, %d] is missing", i, f.First, f.Last)
		}
		fmt.Fprintln(crc, e.Index, e.Term, e.Type, e.Place, e.PlaceLength)
		crc.Write(e.Data)
	}
	f.Headers = crc.Sum32()
	l := g.Log()
	if l == nil {
		return f, nil
	}
	f.Start, f.End = l.LogStart(), l.LogEnd()
	var err error
	f.Records, err = readLog(l, f.Start, f.End)
	return f, err
}

func readLog(l *log.Log, from, to int64) ([]byte, error) {
	const step = 8 << 20
	var all bytes.Buffer
	for from < to {
		e, err := l.Read(from, step, to, true)
		if err != nil {
			return nil, err
		}
		b, err := e.ReadAll()
		next := e.Next()
		e.Release()
		if err != nil {
			return nil, err
		}
		if next <= from {
			return nil, fmt.Errorf("nothing at offset %d of [%d, %d)", from, from, to)
		}
		all.Write(b)
		from = next
	}
	return all.Bytes(), nil
}

// reason is the text of err, "" for none.
func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
