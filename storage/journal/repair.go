package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
)

// Open repairs the journal in dir, which is made if need be, and opens it. The Recovery gives what is in it; Close it when the
// segments agree with it: until then the mark does not pass records whose payloads may not be on disk. Damage is not an error.
// Errors name the file: I/O, ErrVersion and ErrKind for what a newer binary wrote, ErrCorrupt for files that do not belong here.
func Open(dir string, o Options) (*Journal, *Recovery, error) {
	o = o.withDefaults()
	start := o.Now()
	j := &Journal{dir: dir, opts: o, wake: make(chan struct{}, 1), done: make(chan struct{})}
	j.mu.notFull.L = &j.mu.Mutex
	if err := o.FS.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	if err := o.FS.SyncDir(filepath.Dir(dir)); err != nil {
		return nil, nil, fmt.Errorf("journal: sync folder of %s: %w", dir, err)
	}
	s, next, cut, err := j.repair()
	if err != nil {
		return nil, nil, err
	}
	r := &Recovery{Mark: s.mark, Cut: cut, Damage: s.damage(dir, o.FirstKept, o.Logger),
		journal: j, first: o.FirstKept, walker: walker{o.FS, dir, s.files, firstOf(s.files, o.FirstKept)}}
	if err := j.resume(s, next, r); err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	o.Logger.Info("journal open", "dir", dir, "first", o.FirstKept, "next", j.NextSequence(), "mark", s.mark,
		"files", len(s.files), "bytes", j.Size(), "damage", len(r.Damage), "took", o.Now().Sub(start).Round(time.Microsecond))
	go j.run() // ended and awaited by Close
	return j, r, nil
}

// firstOf is where a walk begins: at the first file, or at firstKept where the file that had it is gone.
func firstOf(files []file, firstKept uint64) uint64 {
	if len(files) == 0 {
		return firstKept
	}
	return min(files[0].first, firstKept)
}

// repair surveys the journal, and cuts it until nothing above the mark is damaged.
func (j *Journal) repair() (s *survey, next uint64, cut *Cut, err error) {
	files, err := listFiles(j.opts.FS, j.dir)
	if err != nil {
		return nil, 0, nil, err
	}
	if len(files) == 0 && j.opts.Mark > 0 && j.opts.FirstKept > j.opts.Mark {
		// There is always a last file. Where the checkpoint needs some of the journal, the damage below tells of it.
		if j.opts.TailsKnown < j.opts.Mark { // and nothing tells how much was acknowledged behind such a checkpoint
			return nil, 0, nil, fmt.Errorf("%w: %s holds no journal file, though record %d was on disk: restore the files", ErrCorrupt, j.dir, j.opts.Mark)
		}
		j.opts.Logger.Error("no journal file is there: nothing up to the mark is needed of them, what was written behind it is lost",
			"dir", j.dir, "mark", j.opts.Mark)
	}
	if files, err = j.dropFront(files); err != nil {
		return nil, 0, nil, err
	}
	mark := max(j.opts.Mark, j.opts.FirstKept-1)
	for {
		s = &survey{files: files, groups: map[entry.GroupID]groupTail{}, mark: mark}
		w := walker{j.opts.FS, j.dir, files, firstOf(files, j.opts.FirstKept)}
		p, err := w.walk(s)
		if err != nil {
			return nil, 0, nil, err
		}
		next = s.finish(p)
		file, pos, from, ok := s.cutAt()
		if !ok {
			return s, next, cut, nil
		}
		mark = s.mark // what is cut may have carried it; it holds all the same
		c, err := j.cut(files, file, pos, from)
		if err != nil {
			return nil, 0, nil, err
		}
		if cut == nil {
			cut = c
		}
		files = files[:file+1]
	}
}

// dropFront unlinks files that hold nothing from FirstKept on: unlinks reorder at power loss, so any of them may be back.
func (j *Journal) dropFront(files []file) ([]file, error) {
	for len(files) > 1 && files[1].first <= j.opts.FirstKept {
		name := filepath.Join(j.dir, fileName(files[0].first))
		if err := j.opts.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("journal: %w", err)
		}
		files = files[1:]
	}
	return files, nil
}

// cut removes everything from byte pos of the i-th file on. i = -1: all files.
func (j *Journal) cut(files []file, i, pos int, from uint64) (*Cut, error) {
	c := &Cut{Pos: int64(pos), From: from, Files: len(files) - 1 - i, File: filepath.Join(j.dir, fileName(from))}
	for k := len(files) - 1; k > i; k-- { // from the end, so that a crash in between leaves no hole
		if err := j.opts.FS.Remove(filepath.Join(j.dir, fileName(files[k].first))); err != nil {
			return nil, fmt.Errorf("journal: %w", err)
		}
		c.Bytes += files[k].bytes
	}
	if c.Files > 0 {
		if err := j.syncDir(); err != nil {
			return nil, fmt.Errorf("journal: %w", err)
		}
	}
	if i >= 0 {
		c.File = filepath.Join(j.dir, fileName(files[i].first))
		c.Bytes += files[i].bytes - int64(pos)
		if err := j.truncate(c.File, int64(pos)); err != nil {
			return nil, fmt.Errorf("journal: truncate %s: %w", c.File, err)
		}
	}
	j.opts.Logger.Warn("journal cut: damaged above its mark, never acknowledged", "file", c.File, "pos", c.Pos, "from", c.From,
		"bytes", c.Bytes, "files", c.Files)
	return c, nil
}

func (j *Journal) truncate(name string, size int64) error {
	f, err := j.opts.FS.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// resume makes what is above the mark durable, and begins a new file behind it.
func (j *Journal) resume(s *survey, next uint64, r *Recovery) error {
	o := &j.owner
	o.groups, o.newest, o.carried, o.framedMark = s.groups, s.newest, s.mark, s.mark
	for id, t := range o.groups {
		if t.listed = t.sequence > j.opts.TailsKnown; t.listed {
			o.groups[id] = t
			o.changed = append(o.changed, id)
		}
	}
	if s.before.sequence == next-1 {
		o.before = s.before
	}
	o.written, o.synced, j.marks.synced = next-1, next-1, next-1
	j.next.Store(next)
	if err := j.secure(s, r); err != nil {
		return err
	}
	if s.refers > s.mark {
		r.held = s.mark + 1
		j.hold(r.held)
	}
	j.files.list = append([]file(nil), s.files...)
	if n := len(j.files.list); n > 0 && j.files.list[n-1].first == next && j.files.list[n-1].bytes == 0 {
		j.files.list = j.files.list[:n-1] // begin takes it: no longer a file that does not change
		r.walker.files = r.walker.files[:n-1]
	}
	if err := j.begin(next); err != nil {
		return err
	}
	if r.Cut != nil {
		// What was cut may have carried the mark: write it down before anything depends on it.
		return j.writeMark()
	}
	return nil
}

// secure writes and syncs the records above the mark once more (doc.go, Opening): only then may anybody build on them. A mark
// that is the last record too: once a file follows, it cannot be told from a lost entry when it is torn.
func (j *Journal) secure(s *survey, r *Recovery) error {
	if j.owner.written <= s.mark {
		return nil
	}
	v := &tail{above: s.mark, pos: make([]int64, len(s.files))}
	for i := range v.pos {
		v.pos[i] = -1
	}
	if _, err := r.walker.walk(v); err != nil {
		return err
	}
	for i, pos := range v.pos {
		if pos < 0 {
			continue
		}
		if err := j.rewrite(filepath.Join(j.dir, fileName(s.files[i].first)), pos); err != nil {
			return err
		}
	}
	return nil
}

// rewrite writes the bytes of a file from pos on over themselves, and syncs.
func (j *Journal) rewrite(name string, pos int64) error {
	b, err := readFile(j.opts.FS, name, nil)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	f, err := j.opts.FS.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	if _, err = f.WriteAt(b[pos:], pos); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	j.count.syncs.Add(1)
	return nil
}

// tail is the walkVisitor that finds where, in each file, the records above a sequence begin.
type tail struct {
	above uint64
	at    int
	pos   []int64 // -1 = none in this file
}

func (t *tail) begin(i int)                 { t.at = i }
func (t *tail) missing(int, uint64, uint64) {}
func (t *tail) gap(gap) error               { return nil }
func (t *tail) record(r *found) error {
	if r.sequence > t.above && t.pos[t.at] < 0 {
		t.pos[t.at] = int64(r.pos - prefixLen(r.length)) // with its length prefix
	}
	return nil
}
