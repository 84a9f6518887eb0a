package dirblob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/causeway-iot/causeway/internal/core/blob"
)

// stageDir returns where the blocks for a blob wait.
func stageDir(name string) string {
	sum := sha256.Sum256([]byte(name))
	return stagedDir + "/" + hex.EncodeToString(sum[:])
}

// blockFile returns the file name of a block, whose id was checked.
func blockFile(id string) string {
	b, err := base64.StdEncoding.DecodeString(id)
	if err != nil {
		return ""
	}
	return hex.EncodeToString(b)
}

// Stage implements [blob.Blocks].
func (b bucket) Stage(ctx context.Context, name, id string, src io.Reader, sum []byte) error {
	r, err := b.begin(ctx, name)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := blob.CheckBlockID(id); err != nil {
		return err
	}
	t, err := b.s.temp(r)
	if err != nil {
		return err
	}
	defer t.discard()
	_, got, err := t.fill(ctx, src, b.s.max)
	if err != nil {
		return err
	}
	if sum != nil && !bytes.Equal(got, sum) {
		return fmt.Errorf("%w: it has %x", blob.ErrSum, got)
	}
	defer b.hold(name)() // no commit takes the blocks away meanwhile
	to := stageDir(name) + "/" + blockFile(id)
	_, statErr := r.Stat(to)
	if errors.Is(statErr, fs.ErrNotExist) {
		n, err := b.countStaged(r, name)
		if err != nil {
			return err
		}
		if n >= blob.MaxStaged {
			return fmt.Errorf("blob %q has %d blocks that are not committed: %w", name, n, blob.ErrTooMany)
		}
	}
	if err := t.move(to); err != nil {
		return err
	}
	if statErr != nil {
		b.s.mu.Lock()
		b.s.staged[b.name+"/"+name]++
		b.s.mu.Unlock()
	}
	return nil
}

// countStaged returns how many blocks wait for a blob, and remembers it.
func (b bucket) countStaged(r *os.Root, name string) (int, error) {
	key := b.name + "/" + name
	b.s.mu.Lock()
	n, ok := b.s.staged[key]
	b.s.mu.Unlock()
	if ok {
		return n, nil
	}
	blocks, err := b.stagedBlocks(r, name)
	if err != nil {
		return 0, err
	}
	b.s.mu.Lock()
	b.s.staged[key] = len(blocks)
	b.s.mu.Unlock()
	return len(blocks), nil
}

// stagedBlocks lists what waits for a blob, by id.
func (b bucket) stagedBlocks(r *os.Root, name string) ([]blob.Part, error) {
	entries, err := fs.ReadDir(r.FS(), stageDir(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault("list blocks", err)
	}
	var all []blob.Part
	for _, e := range entries {
		id, err := hex.DecodeString(e.Name())
		if err != nil {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fault("list blocks", err)
		}
		all = append(all, blob.Part{ID: base64.StdEncoding.EncodeToString(id), Size: info.Size()})
	}
	slices.SortFunc(all, func(x, y blob.Part) int { return strings.Compare(x.ID, y.ID) })
	return all, nil
}

// unstage forgets the blocks that wait for a blob, whose name the caller holds.
// What cannot be removed is swept later.
func (b bucket) unstage(r *os.Root, name string) {
	b.s.mu.Lock()
	delete(b.s.staged, b.name+"/"+name)
	b.s.mu.Unlock()
	_ = r.RemoveAll(stageDir(name))
}

// Blocks implements [blob.Blocks].
func (b bucket) Blocks(ctx context.Context, name string) (committed, staged []blob.Part, err error) {
	r, err := b.begin(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	if staged, err = b.stagedBlocks(r, name); err != nil {
		return nil, nil, err
	}
	f, err := b.file(r, name)
	if errors.Is(err, blob.ErrNotFound) && len(staged) > 0 {
		return nil, staged, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	parts, err := f.parts()
	if err != nil {
		return nil, nil, fmt.Errorf("read blob %q: %w", name, err)
	}
	for _, p := range parts {
		committed = append(committed, blob.Part(p))
	}
	return committed, staged, nil
}

// Commit implements [blob.Blocks].
func (b bucket) Commit(ctx context.Context, name string, list []blob.Ref, o blob.Options) (blob.Attrs, error) {
	r, err := b.begin(ctx, name)
	if err != nil {
		return blob.Attrs{}, err
	}
	defer r.Close()
	if len(list) > blob.MaxBlocks {
		return blob.Attrs{}, fmt.Errorf("%w: %d of %d", blob.ErrTooMany, len(list), blob.MaxBlocks)
	}
	if err := blob.CheckProperties(o.Properties); err != nil {
		return blob.Attrs{}, err
	}
	defer b.hold(name)()
	if err := errors.Join(b.check(r, name, o.Check), b.check(r, name, blob.NoAppend)); err != nil {
		return blob.Attrs{}, err
	}
	t, err := b.s.temp(r)
	if err != nil {
		return blob.Attrs{}, err
	}
	defer t.discard()
	parts, size, err := b.join(ctx, r, t, name, list, limit(o.Limit, b.s.max))
	if err != nil {
		return blob.Attrs{}, err
	}
	a := blob.Attrs{Name: name, Size: size, Parts: len(parts), Properties: o.Properties.Clone()}
	if a, err = b.replace(r, t, a, "", parts, o.Check); err != nil {
		return blob.Attrs{}, err
	}
	b.unstage(r, name)
	return a, nil
}

// place is where the bytes of a committed block are.
type place struct{ off, size int64 }

// join copies the blocks of a list into t, one after the other.
func (b bucket) join(ctx context.Context, r *os.Root, t *temp, name string, list []blob.Ref, most int64) (parts []part, size int64, err error) {
	old, committed, err := b.committed(r, name)
	if err != nil {
		return nil, 0, err
	}
	if old != nil {
		defer old.Close()
	}
	for _, ref := range list {
		if err := blob.CheckBlockID(ref.ID); err != nil {
			return nil, 0, err
		}
		var n int64
		var err error = blob.ErrBlock
		if ref.From != blob.Committed {
			n, err = b.joinStaged(ctx, r, t, name, ref.ID, most-size)
		}
		if p, ok := committed[ref.ID]; ok && ref.From != blob.Staged && errors.Is(err, blob.ErrBlock) {
			n, err = t.copy(ctx, io.NewSectionReader(old, p.off, p.size), most-size, nil)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("block %s: %w", ref.ID, err)
		}
		parts = append(parts, part{ref.ID, n})
		size += n
	}
	return parts, size, nil
}

// joinStaged copies a block that waits.
func (b bucket) joinStaged(ctx context.Context, r *os.Root, t *temp, name, id string, most int64) (int64, error) {
	f, err := r.Open(stageDir(name) + "/" + blockFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, blob.ErrBlock
	}
	if err != nil {
		return 0, fault("read block", err)
	}
	defer f.Close()
	return t.copy(ctx, f, most, nil)
}

// committed opens a blob and returns where its blocks are; nil without one.
func (b bucket) committed(r *os.Root, name string) (*file, map[string]place, error) {
	f, err := b.file(r, name)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	parts, err := f.parts()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read blob %q: %w", name, err), f.Close())
	}
	places := make(map[string]place, len(parts))
	var off int64
	for _, p := range parts {
		places[p.ID] = place{off, p.Size}
		off += p.Size
	}
	return f, places, nil
}

// Sweep forgets the blocks of blobs for which none came since a time.
func (s *Store) Sweep(ctx context.Context, since time.Time) error {
	for after := ""; ; {
		page, err := s.Containers(ctx, "", after, dirBatch)
		if err != nil {
			return err
		}
		for _, c := range page {
			if err := s.sweep(ctx, c.Name, since); err != nil && !errors.Is(err, blob.ErrNoContainer) {
				return fmt.Errorf("sweep container %s: %w", c.Name, err)
			}
			after = c.Name
		}
		if len(page) < dirBatch {
			return nil
		}
	}
}

func (s *Store) sweep(ctx context.Context, container string, since time.Time) error {
	r, err := bucket{s, container}.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	d, err := r.Open(stagedDir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(dirBatch)
		for _, n := range names {
			// A directory is as old as the last block that came into it.
			if info, err := r.Stat(stagedDir + "/" + n); err == nil && info.ModTime().Before(since) {
				if err := r.RemoveAll(stagedDir + "/" + n); err != nil {
					return err
				}
				s.mu.Lock()
				clear(s.staged) // which one it was is not known; counting again is cheap
				s.mu.Unlock()
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
