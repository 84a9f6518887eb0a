package dirblob

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/core/durable"
	"github.com/causeway-iot/causeway/internal/core/keyed"
)

// Options of a store. The zero value is useful.
type Options struct {
	// ReserveBytes of the file system are left free: a write that would take
	// them is refused with blob.ErrFull. 0 is the default, see
	// DefaultReserveBytes; negative reserves nothing.
	ReserveBytes int64
	// MaxBytes is how large a blob may become; 0 is DefaultMaxBytes.
	MaxBytes int64
}

// Store is a directory of containers. Only one process may have it open.
type Store struct {
	dir     string
	root    *os.Root
	reserve int64
	max     int64

	// dirs is held for writing while directories are made, so that who finds one
	// may rely on it being durable.
	dirs sync.RWMutex

	mu     sync.Mutex
	locks  keyed.Locks[string] // by container and name
	staged map[string]int      // how many blocks a blob has, for those that were counted
}

var _ blob.Store = (*Store)(nil)

// The directories of a container.
const (
	treeDir    = "tree"
	tmpDir     = "tmp"
	stagedDir  = "staged"
	appendsDir = "appends"
	gonePrefix = ".gone-"
	newPrefix  = ".new-"
)

var layout = []string{treeDir, tmpDir, stagedDir, appendsDir}

// Open opens the store in dir, which it makes when there is none, and takes
// away what a crash has left behind.
func Open(dir string, o Options) (*Store, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	if err := durable.MakeDir(dir); err != nil {
		return nil, fmt.Errorf("make the directory of the blob store: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	s := &Store{dir: dir, root: root, reserve: o.ReserveBytes, max: o.MaxBytes, staged: map[string]int{}}
	if err := s.clean(); err != nil {
		return nil, errors.Join(fmt.Errorf("clean blob store %s: %w", dir, err), root.Close())
	}
	return s, nil
}

// Close gives the directory back. Readers of blobs may go on.
func (s *Store) Close() error { return s.root.Close() }

// clean removes what a crash has left: containers half made or half deleted,
// files that were being written, and bytes of append blobs that are gone.
func (s *Store) clean() error {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), gonePrefix), strings.HasPrefix(e.Name(), newPrefix):
			if err := s.root.RemoveAll(e.Name()); err != nil {
				return err
			}
		case e.IsDir() && blob.CheckContainer(e.Name()) == nil:
			if err := s.cleanContainer(e.Name()); err != nil {
				return fmt.Errorf("container %s: %w", e.Name(), err)
			}
		}
	}
	return nil
}

func (s *Store) cleanContainer(name string) error {
	r, err := s.root.OpenRoot(name)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.RemoveAll(tmpDir); err != nil {
		return err
	}
	for _, d := range layout {
		if err := r.Mkdir(d, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return cleanAppends(r)
}

// Create implements [blob.Store].
func (s *Store) Create(ctx context.Context, container string) error {
	if err := errors.Join(ctx.Err(), blob.CheckContainer(container)); err != nil {
		return err
	}
	if err := s.room(); err != nil {
		return err
	}
	if _, err := s.root.Stat(container); err == nil {
		return fmt.Errorf("container %s: %w", container, blob.ErrExists)
	}
	temp := newPrefix + random()
	err := s.root.Mkdir(temp, 0o700)
	for _, d := range layout {
		if err == nil {
			err = s.root.Mkdir(temp+"/"+d, 0o700)
		}
	}
	if err == nil {
		err = syncDir(s.root, temp)
	}
	if err == nil {
		// A directory that has something in it is not replaced.
		if err = s.root.Rename(temp, container); err != nil {
			if _, there := s.root.Stat(container); there == nil {
				err = blob.ErrExists
			}
		}
	}
	if err == nil {
		err = syncDir(s.root, ".")
	}
	if err != nil {
		return errors.Join(fault("make container "+container, err), s.root.RemoveAll(temp))
	}
	return nil
}

// Remove implements [blob.Store].
func (s *Store) Remove(ctx context.Context, container string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := blob.CheckContainer(container); err != nil {
		return fmt.Errorf("container %q: %w", container, blob.ErrNoContainer)
	}
	gone := gonePrefix + random()
	switch err := s.root.Rename(container, gone); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("container %s: %w", container, blob.ErrNoContainer)
	case err != nil:
		return fault("delete container "+container, err)
	}
	if err := syncDir(s.root, "."); err != nil {
		return fault("delete container "+container, err)
	}
	s.mu.Lock()
	for k := range s.staged {
		if strings.HasPrefix(k, container+"/") {
			delete(s.staged, k)
		}
	}
	s.mu.Unlock()
	// It is gone already; what cannot be removed now is at the next start.
	_ = s.root.RemoveAll(gone)
	return nil
}

// Stat implements [blob.Store].
func (s *Store) Stat(ctx context.Context, container string) (blob.ContainerInfo, error) {
	if err := ctx.Err(); err != nil {
		return blob.ContainerInfo{}, err
	}
	missing := fmt.Errorf("container %q: %w", container, blob.ErrNoContainer)
	if blob.CheckContainer(container) != nil {
		return blob.ContainerInfo{}, missing
	}
	// This directory changes with the container alone, never with what is in it.
	info, err := s.root.Stat(container)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return blob.ContainerInfo{}, missing
	case err != nil:
		return blob.ContainerInfo{}, fault("look at container "+container, err)
	}
	at := info.ModTime().UTC()
	return blob.ContainerInfo{Name: container, ETag: fmt.Sprintf("0x8D%013X", at.UnixNano()&(1<<52-1)), Created: at}, nil
}

// Containers implements [blob.Store].
func (s *Store) Containers(ctx context.Context, prefix, after string, limit int) ([]blob.ContainerInfo, error) {
	entries, err := fs.ReadDir(s.root.FS(), ".") // sorted
	if err != nil {
		return nil, fault("list containers", err)
	}
	var all []blob.ContainerInfo
	for _, e := range entries {
		if len(all) >= limit {
			break
		}
		if n := e.Name(); !e.IsDir() || n <= after || !strings.HasPrefix(n, prefix) || blob.CheckContainer(n) != nil {
			continue
		}
		info, err := s.Stat(ctx, e.Name())
		if errors.Is(err, blob.ErrNoContainer) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, info)
	}
	return all, nil
}

// Container implements [blob.Store].
func (s *Store) Container(name string) blob.Bucket { return bucket{s, name} }

// Run forgets blocks that nobody commits, until ctx ends. What cannot be
// forgotten now is tried again.
func (s *Store) Run(ctx context.Context) error { return blob.Sweep(ctx, SweepEvery, s.Sweep) }

// room checks that the reserve is free.
func (s *Store) room() error {
	if s.reserve < 0 {
		return nil
	}
	free, total, err := space(s.dir)
	if err != nil {
		return err
	}
	if reserve := reserved(s.reserve, total); free < reserve {
		return fmt.Errorf("%w: %d bytes are free, %d are reserved", blob.ErrFull, free, reserve)
	}
	return nil
}

// reserved returns the bytes to leave free on a file system of that total size
// when so many are asked for, 0 for the default.
func reserved(asked, total int64) int64 {
	if asked == 0 {
		return min(DefaultReserveBytes, total/10)
	}
	return asked
}

// fault says what was being done, and of a full disk that it is one.
func fault(doing string, err error) error {
	if err != nil && isFull(err) && !errors.Is(err, blob.ErrFull) {
		return fmt.Errorf("%s: %w: %w", doing, blob.ErrFull, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// hold waits for the sole right to change a name.
func (s *Store) hold(key string) (release func()) { return s.locks.Lock(key) }

func random() string {
	var b [12]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// newETag returns the tag of a new version, in the form the Blob service has.
func newETag() string {
	var b [7]byte
	rand.Read(b[:])
	return "0x8D" + strings.ToUpper(hex.EncodeToString(b[:]))[:13]
}
