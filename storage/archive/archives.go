package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tandembroker/tandem/storage/vfs"
)

// Options configures Archives; the zero value works.
type Options struct {
	Logger *slog.Logger     // nil = slog.Default()
	Now    func() time.Time // nil = time.Now

	// ReserveBytes of free space are left alone by copies; 0 = a copy may take all.
	ReserveBytes int64
	// SegmentBytes is the size at which a copy begins a new file; a larger batch has a file of its own. 0 = 1 GiB.
	SegmentBytes int64
}

const segmentBytesDefault = 1 << 30

// Archives are the archives of lost records in one log dir.
type Archives struct {
	fs   vfs.FS
	root string
	opts Options

	mu struct { // held across renames and syncs of the folder
		sync.Mutex
		known  bool             // what follows is what the folder holds, durably
		made   bool             // the folder is there, durably; only while known
		staged map[key][]string // ids; more than one only where somebody else has put it there
		sealed map[string]int64 // id -> bytes of batches
		busy   map[key]bool     // partitions that a call is at work on
	}
}

// Open reads what the log dir holds and removes what a crash has left unfinished. It makes no folder. dir must belong to this process.
func Open(fsys vfs.FS, dir string, o Options) (*Archives, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = segmentBytesDefault
	}
	if o.ReserveBytes < 0 || o.SegmentBytes < 0 {
		return nil, fmt.Errorf("archive: reserve of %d bytes, segments of %d: at least 0 is expected", o.ReserveBytes, o.SegmentBytes)
	}
	a := &Archives{fs: fsys, root: path.Join(dir, rootName), opts: o}
	a.mu.busy = map[key]bool{}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a, a.loadLocked()
}

// loadLocked reads the folder, unless it is known. After a failed rename or sync nobody knows what is durable: then too.
func (a *Archives) loadLocked() error {
	if a.mu.known {
		return nil
	}
	a.mu.staged, a.mu.sealed, a.mu.made = map[key][]string{}, map[string]int64{}, false
	entries, err := a.fs.ReadDir(a.root)
	if errors.Is(err, fs.ErrNotExist) {
		a.mu.known = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("archive: list: %w", err)
	}
	for _, e := range entries {
		if err := a.meetLocked(e.Name()); err != nil {
			return fmt.Errorf("archive: %s: %w", e.Name(), err)
		}
	}
	if err := a.fs.SyncDir(a.root); err != nil {
		return fmt.Errorf("archive: sync: %w", err)
	}
	a.mu.known = true
	return nil
}

// meetLocked takes a folder into account, or removes it; what has another name is not ours.
func (a *Archives) meetLocked(name string) error {
	id, suffix := name, ""
	for _, s := range []string{suffixUnfinished, suffixStaged} {
		if cut, ok := strings.CutSuffix(name, s); ok {
			id, suffix = cut, s
		}
	}
	n, ok := parseIdentity(id)
	switch {
	case !ok:
		return nil
	case suffix == suffixUnfinished && a.mu.busy[n.key]:
		return nil // its copy is going on
	case suffix == suffixUnfinished:
		return a.fs.RemoveAll(path.Join(a.root, name))
	case suffix == suffixStaged:
		a.mu.staged[n.key] = append(a.mu.staged[n.key], id)
		return nil
	}
	bytes, err := a.sizeOf(id)
	a.mu.sealed[id] = bytes
	return err
}

func (a *Archives) sizeOf(id string) (bytes int64, err error) {
	files, err := logFiles(a.fs, path.Join(a.root, id))
	for _, f := range files {
		bytes += f.size
	}
	return bytes, err
}

// begin reserves the partition for a call, until end.
func (a *Archives) begin(p Partition) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.busy[p.key()] {
		return fmt.Errorf("%w: %s", ErrBusy, p)
	}
	if err := a.loadLocked(); err != nil {
		return err
	}
	a.mu.busy[p.key()] = true
	return nil
}

func (a *Archives) end(p Partition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.mu.busy, p.key())
}

// List describes the sealed archives, in the order of their ids. One whose document is damaged is among them and says so.
func (a *Archives) List(ctx context.Context) ([]Archive, error) {
	a.mu.Lock()
	err := a.loadLocked()
	ids := make([]string, 0, len(a.mu.sealed))
	for id := range a.mu.sealed {
		ids = append(ids, id)
	}
	a.mu.Unlock()
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	return a.describeAll(ctx, ids)
}

// describeAll leaves out those that are removed meanwhile.
func (a *Archives) describeAll(ctx context.Context, ids []string) ([]Archive, error) {
	list := make([]Archive, 0, len(ids))
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("archive: list: %w", err)
		}
		described, err := a.describe(id)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !a.has(id): // removed meanwhile
		case err != nil:
			return nil, err
		default:
			list = append(list, described)
		}
	}
	return list, nil
}

// Figures are how many sealed archives there are, and the bytes of their batches. It asks the disk only after a failure.
func (a *Archives) Figures() (count int, bytes int64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.loadLocked(); err != nil {
		return 0, 0, err
	}
	for _, n := range a.mu.sealed {
		bytes += n
	}
	return len(a.mu.sealed), bytes, nil
}

// Staged lists the partitions that have an archive which is not settled; of a long topic name the beginning.
func (a *Archives) Staged() ([]Partition, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.loadLocked(); err != nil {
		return nil, err
	}
	var list []Partition
	for k, ids := range a.mu.staged {
		n, _ := parseIdentity(ids[0])
		list = append(list, Partition{Topic: n.topic, TopicID: k.topic, Index: k.index})
	}
	slices.SortFunc(list, func(x, y Partition) int { return strings.Compare(x.String(), y.String()) })
	return list, nil
}

// Remove takes away a sealed archive for good; durable on return. Only the operator may say so. Errors: ErrUnknown, ErrBusy, I/O.
func (a *Archives) Remove(id string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.loadLocked(); err != nil {
		return err
	}
	n, _ := parseIdentity(id)
	if _, ok := a.mu.sealed[id]; !ok {
		return fmt.Errorf("%w: %q", ErrUnknown, id)
	}
	if a.mu.busy[n.key] {
		return fmt.Errorf("%w: %s", ErrBusy, id)
	}
	if err := a.discardLocked(id, id); err != nil {
		return err
	}
	delete(a.mu.sealed, id)
	a.opts.Logger.Info("archive of lost records removed", "archive", id)
	return nil
}

// describe reads the document of a sealed archive; damage of it is told in the description. Errors: I/O.
func (a *Archives) describe(id string) (Archive, error) {
	described, err := readDocument(a.fs, path.Join(a.root, id), id)
	if err == nil {
		return described, nil
	}
	var damage *DamageError
	switch {
	case errors.As(err, &damage):
	case errors.Is(err, fs.ErrNotExist) && a.has(id):
		damage = &DamageError{File: path.Join(a.root, id, documentName), Reason: "the file is missing"}
	default:
		return Archive{}, fmt.Errorf("archive: describe %s: %w", id, err)
	}
	n, _ := parseIdentity(id)
	return Archive{ID: id, Partition: Partition{n.topic, n.key.topic, n.key.index}, Cut: n.cut, Damage: damage}, nil
}

// has says whether id is a sealed archive now.
func (a *Archives) has(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.mu.sealed[id]
	return ok
}
