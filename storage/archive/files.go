package archive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/tandembroker/tandem/storage/vfs"
)

const (
	filePerm = 0o644
	dirPerm  = 0o755
)

// logName is the name of a file of batches, as in Kafka.
func logName(base int64) string { return fmt.Sprintf("%020d%s", base, suffixLog) }

func parseLogName(name string) (base int64, ok bool) {
	digits, found := strings.CutSuffix(name, suffixLog)
	base, err := strconv.ParseInt(digits, 10, 64)
	return base, found && err == nil && base >= 0 && name == logName(base)
}

// writeFile makes a new file of content, synced; its name is not durable yet.
func writeFile(fsys vfs.FS, name string, content []byte) error {
	f, err := fsys.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, filePerm)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// readDocument reads the document in dir, the folder of the archive id. Errors: DamageError, I/O.
func readDocument(fsys vfs.FS, dir, id string) (Archive, error) {
	name := path.Join(dir, documentName)
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return Archive{}, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return Archive{}, err
	}
	if size > documentBytesMax {
		return Archive{}, &DamageError{File: name, Pos: documentBytesMax, Reason: fmt.Sprintf("%d bytes, expected at most %d", size, documentBytesMax)}
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return Archive{}, err
	} else if n < len(b) {
		return Archive{}, &DamageError{File: name, Pos: int64(n), Reason: "the file ends here"}
	}
	a, pos, err := decodeDocument(id, b)
	if err != nil {
		return Archive{}, &DamageError{File: name, Pos: pos, Reason: err.Error()}
	}
	return a, nil
}

// logFile is a file of batches in an archive's folder.
type logFile struct {
	name string // without the folder
	base int64
	size int64
}

// logFiles lists them, in the order of their offsets.
func logFiles(fsys vfs.FS, dir string) ([]logFile, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []logFile
	for _, e := range entries {
		base, ok := parseLogName(e.Name())
		if !ok || e.IsDir() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		files = append(files, logFile{e.Name(), base, info.Size()})
	}
	return files, nil
}
