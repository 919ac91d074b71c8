package storage

import "path/filepath"

// DirError is why a log dir, named as in Options.Dirs, is offline; nil while it is in use, and for a folder that is none.
func (s *Store) DirError(dir string) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, f := range s.dirs {
		if filepath.Clean(f.path) == filepath.Clean(dir) {
			return f.err
		}
	}
	return nil
}
