package seglog_test

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"

	"github.com/causeway-iot/causeway/internal/driver/seglog"
)

// memFS is a directory in memory that knows what was synced. It can fail at any
// operation, be full, and crash: then it keeps what was synced and any part of
// what was not.
type memFS struct {
	mu     sync.Mutex
	files  map[string]*memFile // as the process sees them
	names  map[string]*memFile // as they are on disk
	moves  []func(map[string]*memFile)
	locked bool
	dead   bool  // crashed: nothing works any more
	size   int64 // of the file system, 0 is no bound
	ops    int   // operations so far
	// fault is asked before each operation that changes something. For a write
	// it may let the first bytes through.
	fault func(n int, op, name string) (pass int, err error)
}

// memFile is a file: what is on disk, and what was done since.
type memFile struct {
	name    string
	live    []byte
	durable []byte
	pending []change
}

// change is a write, or with nil data a truncation.
type change struct {
	at   int64
	data []byte
}

const sector = 512

func newMemFS() *memFS {
	return &memFS{files: map[string]*memFile{}, names: map[string]*memFile{}}
}

var errDead = errors.New("the machine has crashed")

// step is asked before each change.
func (m *memFS) step(op, name string) (pass int, err error) {
	if m.dead {
		return 0, errDead
	}
	m.ops++
	if m.fault != nil {
		return m.fault(m.ops, op, name)
	}
	return -1, nil
}

func (m *memFS) Open(name string, create bool) (seglog.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.files[name]
	switch {
	case create && ok:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case !create && !ok:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case create:
		if _, err := m.step("create", name); err != nil {
			return nil, err
		}
		f = &memFile{name: name}
		m.files[name] = f
		m.moves = append(m.moves, func(n map[string]*memFile) { n[name] = f })
	}
	return &memHandle{m, f}, nil
}

func (m *memFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.files[name]; !ok {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	if _, err := m.step("remove", name); err != nil {
		return err
	}
	delete(m.files, name)
	m.moves = append(m.moves, func(n map[string]*memFile) { delete(n, name) })
	return nil
}

func (m *memFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.files[from]
	if !ok {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	if _, err := m.step("rename", from); err != nil {
		return err
	}
	delete(m.files, from)
	m.files[to] = f
	m.moves = append(m.moves, func(n map[string]*memFile) {
		delete(n, from)
		n[to] = f
	})
	return nil
}

func (m *memFS) List() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.files)), nil
}

func (m *memFS) SyncDir() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.step("syncdir", ""); err != nil {
		return err
	}
	m.names, m.moves = maps.Clone(m.files), nil
	return nil
}

func (m *memFS) Free() (free, total int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.size == 0 {
		return 0, 0, nil
	}
	return m.size - m.used(), m.size, nil
}

func (m *memFS) used() (n int64) {
	for _, f := range m.files {
		n += int64(len(f.live))
	}
	return n
}

func (m *memFS) Lock() (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked {
		return nil, errors.New("locked")
	}
	m.locked = true
	return closer(func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.locked = false
		return nil
	}), nil
}

type closer func() error

func (c closer) Close() error { return c() }

// set runs f while nothing else uses the directory.
func (m *memFS) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// crash returns the directory as it is found after a power failure: names and
// contents as synced, with a prefix of the later changes of names, and of each
// file any sectors of the later writes.
func (m *memFS) crash(rnd *rand.Rand) *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	after := newMemFS()
	names := maps.Clone(m.names)
	if len(m.moves) > 0 {
		for _, move := range m.moves[:rnd.IntN(len(m.moves)+1)] {
			move(names)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		data := slices.Clone(names[name].durable)
		pending := names[name].pending
		mode := rnd.IntN(3) // nothing of it, a prefix, any sectors
		if mode == 1 && len(pending) > 0 {
			pending = pending[:rnd.IntN(len(pending)+1)]
		}
		for i, c := range pending {
			switch {
			case mode == 0:
			case c.data == nil:
				data = resize(data, c.at)
			case mode == 1 && i < len(pending)-1:
				data = put(data, c.at, c.data)
			case mode == 1:
				data = put(data, c.at, c.data[:rnd.IntN(len(c.data)+1)])
			default:
				for at := c.at; at < c.at+int64(len(c.data)); {
					end := min((at/sector+1)*sector, c.at+int64(len(c.data)))
					if rnd.IntN(2) == 0 {
						data = put(data, at, c.data[at-c.at:end-c.at])
					}
					at = end
				}
			}
		}
		f := &memFile{name: name, live: data, durable: slices.Clone(data)}
		after.files[name], after.names[name] = f, f
	}
	after.size = m.size
	return after
}

// killed returns the directory as another process finds it when this one was
// killed: everything that was written is there.
func (m *memFS) killed() *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	after := newMemFS()
	for name, f := range m.files {
		nf := &memFile{name: name, live: slices.Clone(f.live), durable: slices.Clone(f.durable), pending: slices.Clone(f.pending)}
		after.files[name] = nf
		if _, ok := m.names[name]; ok {
			after.names[name] = nf
		} else {
			after.moves = append(after.moves, func(n map[string]*memFile) { n[name] = nf })
		}
	}
	for name := range m.names {
		if _, ok := m.files[name]; !ok {
			after.names[name] = m.names[name]
			after.moves = append(after.moves, func(n map[string]*memFile) { delete(n, name) })
		}
	}
	after.size = m.size
	return after
}

// clone returns a copy in which everything is synced.
func (m *memFS) clone() *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := newMemFS()
	for name, f := range m.files {
		nf := &memFile{name: name, live: slices.Clone(f.live), durable: slices.Clone(f.live)}
		after.files[name], after.names[name] = nf, nf
	}
	after.size = m.size
	return after
}

// contents returns what is in a file, to look at and to damage.
func (m *memFS) contents(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f, ok := m.files[name]; ok {
		return f.live
	}
	return nil
}

// replace puts b in a file.
func (m *memFS) replace(name string, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := &memFile{name: name, live: slices.Clone(b), durable: slices.Clone(b)}
	m.files[name], m.names[name] = f, f
}

func resize(b []byte, n int64) []byte {
	if n <= int64(len(b)) {
		return b[:n:n]
	}
	return append(b, make([]byte, n-int64(len(b)))...)
}

func put(b []byte, at int64, data []byte) []byte {
	if end := at + int64(len(data)); end > int64(len(b)) && len(data) > 0 {
		b = resize(b, end)
	}
	copy(b[min(at, int64(len(b))):], data)
	return b
}

type memHandle struct {
	m *memFS
	f *memFile
}

func (h *memHandle) ReadAt(b []byte, at int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.m.dead {
		return 0, errDead
	}
	if at >= int64(len(h.f.live)) {
		return 0, io.EOF
	}
	n := copy(b, h.f.live[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *memHandle) WriteAt(b []byte, at int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	pass, err := h.m.step("write", h.f.name)
	n := len(b)
	if err != nil {
		n = max(0, min(pass, n))
	}
	if h.m.size > 0 && err == nil {
		if grow := at + int64(n) - int64(len(h.f.live)); grow > 0 && grow > h.m.size-h.m.used() {
			n, err = max(0, n-int(grow-max(0, h.m.size-h.m.used()))), syscall.ENOSPC
		}
	}
	if n > 0 {
		h.f.live = put(h.f.live, at, b[:n])
		h.f.pending = append(h.f.pending, change{at, slices.Clone(b[:n])})
	}
	return n, err
}

func (h *memHandle) Truncate(size int64) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if _, err := h.m.step("truncate", h.f.name); err != nil {
		return err
	}
	h.f.live = slices.Clone(resize(h.f.live, size))
	h.f.pending = append(h.f.pending, change{at: size})
	return nil
}

// Sync that fails drops what was to be synced from the disk's view, as Linux
// does with dirty pages: a later Sync that succeeds does not bring it back.
func (h *memHandle) Sync() error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if _, err := h.m.step("sync", h.f.name); err != nil {
		if !h.m.dead {
			h.f.pending = slices.DeleteFunc(h.f.pending, func(c change) bool { return c.data != nil })
		}
		return err
	}
	for _, c := range h.f.pending {
		if c.data == nil {
			h.f.durable = slices.Clone(resize(h.f.durable, c.at))
		} else {
			h.f.durable = put(h.f.durable, c.at, c.data)
		}
	}
	h.f.pending = nil
	return nil
}

func (h *memHandle) Size() (int64, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.m.dead {
		return 0, errDead
	}
	return int64(len(h.f.live)), nil
}

func (h *memHandle) Close() error { return nil }
