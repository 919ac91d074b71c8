package meta

import (
	"errors"
	"io"
	"os"
)

// settle makes the newest transaction durable before another one is written. A process that was killed while it committed leaves
// its meta page in the page cache only. The next transaction uses pages that this one has given free, but the one before, which
// is all that the disk knows, still needs: a power loss in the middle of it would leave nothing that is whole.
//
// Where the sync of the meta page failed, the page cache may call it clean though it never reached the disk. So both meta pages
// are written again; the pages that they refer to were synced before.
func settle(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	p := peeker{f: f}
	if err = p.readMeta(); err == nil {
		err = settlePages(f, 2*p.pageSize)
	}
	return errors.Join(err, f.Close())
}

type pages interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// settlePages writes the first size bytes of f once more, as they are, and syncs.
func settlePages(f pages, size int64) error {
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return err
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	return f.Sync()
}
