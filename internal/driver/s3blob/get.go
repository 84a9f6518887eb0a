package s3blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/minio/minio-go/v7"

	"github.com/causeway-iot/causeway/internal/core/blob"
)

// Get implements [blob.Bucket].
func (b bucket) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, blob.Attrs, error) {
	if err := b.begin(ctx, name); err != nil {
		return nil, blob.Attrs{}, err
	}
	for {
		d, err := b.must(ctx, name)
		if err != nil {
			return nil, blob.Attrs{}, err
		}
		a := *d.attrs()
		if off < 0 || off > a.Size || off == a.Size && off > 0 {
			return nil, a, fmt.Errorf("blob %q of %d bytes: %w", name, a.Size, blob.ErrRange)
		}
		if n < 0 || n > a.Size-off {
			n = a.Size - off
		}
		r := &reader{ctx: ctx, b: b, at: b.chunks(name), chunks: d.Chunks, skip: off, left: n}
		err = r.next()
		if missing(err) {
			// Replaced between the two; or else damaged.
			if now, herr := b.load(ctx, name); herr == nil && (now == nil || now.ETag != a.ETag) {
				continue
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, a, fault("read blob", err)
		}
		return r, a, nil
	}
}

// reader reads chunks one after the other.
type reader struct {
	ctx    context.Context
	b      bucket
	at     string // where the chunks are
	chunks []chunk
	skip   int64 // bytes before the first that is wanted
	left   int64
	now    io.ReadCloser
	here   int64 // bytes left of now
}

// next opens the next chunk; io.EOF at the end.
func (r *reader) next() error {
	for len(r.chunks) > 0 && r.left > 0 {
		c := r.chunks[0]
		r.chunks = r.chunks[1:]
		if r.skip >= c.Size {
			r.skip -= c.Size
			continue
		}
		r.here = min(c.Size-r.skip, r.left)
		var o minio.GetObjectOptions
		if err := o.SetRange(r.skip, r.skip+r.here-1); err != nil {
			return err
		}
		body, _, _, err := r.b.s.client.GetObject(r.ctx, r.b.s.bucket, r.at+c.Key, o)
		if err != nil {
			return err
		}
		r.now, r.skip = body, 0
		return nil
	}
	return io.EOF
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	for {
		if r.now == nil {
			if err := r.next(); err != nil {
				return 0, err
			}
		}
		n, err := r.now.Read(p[:min(int64(len(p)), r.here)])
		r.here -= int64(n)
		r.left -= int64(n)
		switch {
		case r.here == 0:
			if err := r.Close(); err != nil {
				return n, err
			}
		case err == io.EOF:
			return n, io.ErrUnexpectedEOF
		case err != nil:
			return n, err
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
}

// Close implements [io.Closer].
func (r *reader) Close() error {
	if r.now == nil {
		return nil
	}
	err := r.now.Close()
	r.now = nil
	return err
}

// List implements [blob.Bucket].
func (b bucket) List(ctx context.Context, prefix, after string, limit int) ([]blob.Attrs, error) {
	if _, err := b.s.Stat(ctx, b.name); err != nil {
		return nil, err
	}
	var found []blob.Attrs
	at := b.root() + "/a/"
	from := at + keyPrefix(after)
	for len(found) < limit {
		var keys []string
		want := limit - len(found) + 1
		err := b.s.each(ctx, at+keyPrefix(prefix), from, true, func(o minio.ObjectInfo) (bool, error) {
			keys = append(keys, o.Key)
			return len(keys) < want, nil
		})
		if err != nil {
			return nil, fault("list blobs", err)
		}
		all, err := b.lookUp(ctx, keys)
		if err != nil {
			return nil, err
		}
		for _, a := range all {
			if a != nil && a.Name > after && strings.HasPrefix(a.Name, prefix) && len(found) < limit {
				found = append(found, *a)
			}
		}
		if len(keys) < want {
			break
		}
		from = keys[len(keys)-1]
	}
	return found, nil
}

// lookUp reads documents, some at once; nil for those that are gone.
func (b bucket) lookUp(ctx context.Context, keys []string) ([]*blob.Attrs, error) {
	all := make([]*blob.Attrs, len(keys))
	var wg sync.WaitGroup
	var once sync.Once
	var failed error
	slots := make(chan struct{}, lookups)
	for i, key := range keys {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			var d document
			err := b.s.read(ctx, key, &d)
			switch {
			case missing(err):
			case err != nil:
				once.Do(func() { failed = fault("read blob", err) })
			default:
				all[i] = d.attrs()
			}
		})
	}
	wg.Wait()
	return all, failed
}
