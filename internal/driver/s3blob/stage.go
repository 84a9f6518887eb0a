package s3blob

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/causeway-iot/causeway/internal/core/blob"
)

// Stage implements [blob.Blocks].
func (b bucket) Stage(ctx context.Context, name, id string, r io.Reader, sum []byte) error {
	if err := b.begin(ctx, name); err != nil {
		return err
	}
	if err := blob.CheckBlockID(id); err != nil {
		return err
	}
	if err := b.count(ctx, name); err != nil {
		return err
	}
	c, got, err := b.upload(ctx, name, id, r, b.s.max)
	if err != nil {
		return err
	}
	if sum != nil && !bytes.Equal(got, sum) {
		b.drop(ctx, name, c)
		return fmt.Errorf("%w: it has %x", blob.ErrSum, got)
	}
	b.s.mu.Lock()
	b.s.staged[b.name+"/"+name]++
	b.s.mu.Unlock()
	return nil
}

// count refuses one block too many. A block that is sent again counts again: the
// former one is there until the commit.
func (b bucket) count(ctx context.Context, name string) error {
	key := b.name + "/" + name
	b.s.mu.Lock()
	n, ok := b.s.staged[key]
	b.s.mu.Unlock()
	if !ok {
		d, err := b.load(ctx, name)
		if err != nil {
			return err
		}
		staged, err := b.waiting(ctx, name, d)
		if err != nil {
			return err
		}
		n = len(staged)
		b.s.mu.Lock()
		b.s.staged[key] = n
		b.s.mu.Unlock()
	}
	if n >= blob.MaxStaged {
		return fmt.Errorf("blob %q has %d blocks that are not committed: %w", name, n, blob.ErrTooMany)
	}
	return nil
}

// waiting returns the blocks that wait for a blob, the newest of each id.
func (b bucket) waiting(ctx context.Context, name string, d *document) (map[string]chunk, error) {
	at := b.chunks(name)
	committed := d.keys()
	staged := map[string]chunk{}
	err := b.s.each(ctx, at, "", true, func(o minio.ObjectInfo) (bool, error) {
		key := o.Key[len(at):]
		if id, ok := blockOf(key); ok && !committed[key] && key > staged[id].Key {
			staged[id] = chunk{key, o.Size}
		}
		return true, nil
	})
	return staged, fault("list blocks", err)
}

// Blocks implements [blob.Blocks].
func (b bucket) Blocks(ctx context.Context, name string) (committed, staged []blob.Part, err error) {
	if err := b.begin(ctx, name); err != nil {
		return nil, nil, err
	}
	d, err := b.load(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	waiting, err := b.waiting(ctx, name, d)
	if err != nil {
		return nil, nil, err
	}
	if d == nil && len(waiting) == 0 {
		return nil, nil, fmt.Errorf("blob %q: %w", name, blob.ErrNotFound)
	}
	if d != nil {
		for _, c := range d.Chunks {
			if id, ok := blockOf(c.Key); ok {
				committed = append(committed, blob.Part{ID: id, Size: c.Size})
			}
		}
	}
	for id, c := range waiting {
		staged = append(staged, blob.Part{ID: id, Size: c.Size})
	}
	slices.SortFunc(staged, func(x, y blob.Part) int { return strings.Compare(x.ID, y.ID) })
	return committed, staged, nil
}

// Commit implements [blob.Blocks].
func (b bucket) Commit(ctx context.Context, name string, list []blob.Ref, o blob.Options) (blob.Attrs, error) {
	if err := errors.Join(b.begin(ctx, name), blob.CheckProperties(o.Properties)); err != nil {
		return blob.Attrs{}, err
	}
	if len(list) > blob.MaxBlocks {
		return blob.Attrs{}, fmt.Errorf("%w: %d of %d", blob.ErrTooMany, len(list), blob.MaxBlocks)
	}
	defer b.hold(name)()
	now, err := b.load(ctx, name)
	if err == nil && o.Check != nil {
		err = o.Check(now.attrs())
	}
	if err == nil {
		err = blob.NoAppend(now.attrs())
	}
	if err != nil {
		return blob.Attrs{}, err
	}
	staged, err := b.waiting(ctx, name, now)
	if err != nil {
		return blob.Attrs{}, err
	}
	committed := map[string]chunk{}
	if now != nil {
		for _, c := range now.Chunks {
			if id, ok := blockOf(c.Key); ok {
				committed[id] = c
			}
		}
	}
	d := &document{Name: name, Parts: len(list)}
	d.set(o.Properties)
	for _, ref := range list {
		if err := blob.CheckBlockID(ref.ID); err != nil {
			return blob.Attrs{}, err
		}
		c, ok := staged[ref.ID]
		if ref.From == blob.Committed || !ok && ref.From == blob.Latest {
			c, ok = committed[ref.ID]
		}
		if !ok {
			return blob.Attrs{}, fmt.Errorf("block %s: %w", ref.ID, blob.ErrBlock)
		}
		d.Chunks = append(d.Chunks, c)
	}
	if most := limit(o.Limit, b.s.max); d.size() > most {
		return blob.Attrs{}, fmt.Errorf("%w: at most %d bytes", blob.ErrTooLarge, most)
	}
	a, err := b.replace(ctx, d, nil)
	if err != nil {
		return blob.Attrs{}, err
	}
	b.forget(context.WithoutCancel(ctx), name, d)
	return a, nil
}

// Sweep forgets chunks that came before a time and that no blob has.
func (s *Store) Sweep(ctx context.Context, before time.Time) error {
	for after := ""; ; {
		page, err := s.Containers(ctx, "", after, pageKeys)
		if err != nil {
			return err
		}
		for _, c := range page {
			if err := (bucket{s, c.Name}).sweep(ctx, before); err != nil {
				return fmt.Errorf("sweep container %s: %w", c.Name, err)
			}
			after = c.Name
		}
		if len(page) < pageKeys {
			return nil
		}
	}
}

func (b bucket) sweep(ctx context.Context, before time.Time) error {
	at := b.root() + "/d/"
	hash, old := "", []string(nil) // chunks of one blob
	err := b.s.each(ctx, at, "", true, func(o minio.ObjectInfo) (bool, error) {
		h, _, _ := strings.Cut(o.Key[len(at):], "/")
		if h != hash {
			if err := b.sweepBlob(ctx, hash, old); err != nil {
				return false, err
			}
			hash, old = h, nil
		}
		if o.LastModified.Before(before) && len(old) < pageKeys {
			old = append(old, o.Key) // more of them next time
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	return b.sweepBlob(ctx, hash, old)
}

// sweepBlob deletes those of some chunks of a blob that it does not have.
func (b bucket) sweepBlob(ctx context.Context, hash string, old []string) error {
	if len(old) == 0 {
		return nil
	}
	// Whose chunks these are is said beside them.
	info, err := b.s.client.Client.StatObject(ctx, b.s.bucket, old[0], minio.StatObjectOptions{})
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	raw, err := base64.URLEncoding.DecodeString(info.UserMetadata["Name"])
	if name := string(raw); err == nil && hashOf(name) == hash {
		defer b.hold(name)() // no commit takes one of them meanwhile
		d, err := b.load(ctx, name)
		if err != nil {
			return err
		}
		kept := d.keys()
		for _, key := range old {
			if !kept[key[strings.LastIndexByte(key, '/')+1:]] {
				if err := b.s.remove(ctx, key); err != nil {
					return err
				}
			}
		}
		b.s.mu.Lock()
		delete(b.s.staged, b.name+"/"+name)
		b.s.mu.Unlock()
	}
	return nil // chunks without a name are not ours to judge
}
