package s3blob

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the checksum of the Blob service, no defence
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/causeway-iot/causeway/internal/core/blob"
)

// bucket is one container.
type bucket struct {
	s    *Store
	name string
}

// begin checks what every operation checks.
func (b bucket) begin(ctx context.Context, name string) error {
	if err := errors.Join(ctx.Err(), blob.CheckName(name)); err != nil {
		return err
	}
	_, err := b.s.Stat(ctx, b.name)
	return err
}

func (b bucket) root() string                      { return b.s.prefix + b.name }
func (b bucket) docKey(name string) string         { return b.root() + "/a/" + keyOf(name) }
func (b bucket) chunks(name string) string         { return b.root() + "/d/" + hashOf(name) + "/" }
func (b bucket) hold(name string) (release func()) { return b.s.hold(b.name + "/" + name) }

// load returns the document of a blob, nil for none.
func (b bucket) load(ctx context.Context, name string) (*document, error) {
	var d document
	err := b.s.read(ctx, b.docKey(name), &d)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fault("read blob", err)
	}
	return &d, nil
}

// must is load for a blob that has to be there.
func (b bucket) must(ctx context.Context, name string) (*document, error) {
	d, err := b.load(ctx, name)
	if err == nil && d == nil {
		err = fmt.Errorf("blob %q: %w", name, blob.ErrNotFound)
	}
	return d, err
}

// source is the bytes of an upload on their way.
type source struct {
	r    io.Reader
	n    int64
	most int64
	err  error
}

func (r *source) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if r.n += int64(n); r.n > r.most {
		err = fmt.Errorf("%w: at most %d bytes", blob.ErrTooLarge, r.most)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// upload stores bytes as a chunk of a blob; without any there is none.
func (b bucket) upload(ctx context.Context, name, id string, r io.Reader, most int64) (c chunk, sum []byte, err error) {
	select {
	case b.s.slots <- struct{}{}:
		defer func() { <-b.s.slots }()
	case <-ctx.Done():
		return chunk{}, nil, ctx.Err()
	}
	h := md5.New() //nolint:gosec // see the import
	src := &source{r: io.TeeReader(r, h), most: most}
	// The first part decides: a service makes no chunk of nothing.
	first := make([]byte, partBytes)
	n, err := io.ReadFull(src, first)
	if err != nil && !errors.Is(err, io.EOF) && (!errors.Is(err, io.ErrUnexpectedEOF) || src.err != nil) {
		return chunk{}, nil, src.err
	}
	if n == 0 {
		return chunk{}, h.Sum(nil), nil
	}
	c = chunk{Key: newChunk(id)}
	o := minio.PutObjectOptions{
		ContentType: "application/octet-stream", PartSize: partBytes, NumThreads: 1, SendContentMd5: false,
		UserMetadata: map[string]string{"name": base64.URLEncoding.EncodeToString([]byte(name))},
	}
	body, size := io.Reader(bytes.NewReader(first[:n])), int64(n)
	if n == partBytes {
		body, size = io.MultiReader(body, src), -1
	}
	_, err = b.s.client.Client.PutObject(ctx, b.s.bucket, b.chunks(name)+c.Key, body, size, o)
	if src.err != nil {
		err = src.err
	}
	if err != nil {
		return chunk{}, nil, fault("write blob", err)
	}
	c.Size = src.n
	return c, h.Sum(nil), nil
}

// drop deletes a chunk that is not wanted after all.
func (b bucket) drop(ctx context.Context, name string, c chunk) {
	if c.Key != "" {
		_ = b.s.remove(context.WithoutCancel(ctx), b.chunks(name)+c.Key) // or else Sweep does
	}
}

func limit(asked, most int64) int64 {
	if asked > 0 {
		return min(asked, most)
	}
	return most
}

// Put implements [blob.Bucket].
func (b bucket) Put(ctx context.Context, name string, r io.Reader, o blob.Options) (blob.Attrs, error) {
	if err := errors.Join(b.begin(ctx, name), blob.CheckProperties(o.Properties)); err != nil {
		return blob.Attrs{}, err
	}
	if o.Check != nil {
		now, err := b.load(ctx, name)
		if err == nil {
			err = o.Check(now.attrs())
		}
		if err != nil {
			return blob.Attrs{}, err
		}
	}
	c, sum, err := b.upload(ctx, name, "", r, limit(o.Limit, b.s.max))
	if err != nil {
		return blob.Attrs{}, err
	}
	if o.Sum != nil && !bytes.Equal(sum, o.Sum) {
		b.drop(ctx, name, c)
		return blob.Attrs{}, fmt.Errorf("%w: it has %x", blob.ErrSum, sum)
	}
	d := &document{Name: name, Append: o.Kind == blob.Append}
	d.set(o.Properties)
	if d.MD5 == nil && !d.Append {
		d.MD5 = sum
	}
	if c.Size > 0 {
		d.Chunks = []chunk{c}
	}
	defer b.hold(name)()
	a, err := b.replace(ctx, d, o.Check)
	if err != nil {
		b.drop(ctx, name, c)
	}
	return a, err
}

// replace makes a document the one of its blob and forgets the chunks of the
// former one. The caller holds the name. What every version has, it gets here.
func (b bucket) replace(ctx context.Context, d *document, check blob.Check) (blob.Attrs, error) {
	before, err := b.load(ctx, d.Name)
	if err == nil && check != nil {
		err = check(before.attrs())
	}
	if err != nil {
		return blob.Attrs{}, err
	}
	d.ETag, d.Modified = newETag(), time.Now().UTC()
	if d.Created = d.Modified; before != nil {
		d.Created = before.Created
	}
	if err := b.s.write(ctx, b.docKey(d.Name), d); err != nil {
		return blob.Attrs{}, fault("write blob", err)
	}
	kept := d.keys()
	for key := range before.keys() {
		if !kept[key] {
			b.drop(ctx, d.Name, chunk{Key: key})
		}
	}
	return *d.attrs(), nil
}

// Head implements [blob.Bucket].
func (b bucket) Head(ctx context.Context, name string) (blob.Attrs, error) {
	if err := b.begin(ctx, name); err != nil {
		return blob.Attrs{}, err
	}
	d, err := b.must(ctx, name)
	if err != nil {
		return blob.Attrs{}, err
	}
	return *d.attrs(), nil
}

// Set implements [blob.Bucket].
func (b bucket) Set(ctx context.Context, name string, change func(*blob.Properties), check blob.Check) (blob.Attrs, error) {
	if err := b.begin(ctx, name); err != nil {
		return blob.Attrs{}, err
	}
	defer b.hold(name)()
	d, err := b.must(ctx, name)
	if err != nil {
		return blob.Attrs{}, err
	}
	p := d.attrs().Properties.Clone()
	change(&p)
	if err := blob.CheckProperties(p); err != nil {
		return blob.Attrs{}, err
	}
	d.set(p)
	return b.replace(ctx, d, check)
}

// Append implements [blob.Bucket].
func (b bucket) Append(ctx context.Context, name string, data []byte, at int64, check blob.Check) (blob.Attrs, error) {
	if err := b.begin(ctx, name); err != nil {
		return blob.Attrs{}, err
	}
	defer b.hold(name)()
	d, err := b.must(ctx, name)
	if err == nil && check != nil {
		err = check(d.attrs())
	}
	if err != nil {
		return blob.Attrs{}, err
	}
	size := d.size()
	switch {
	case !d.Append:
		return blob.Attrs{}, fmt.Errorf("blob %q: %w", name, blob.ErrKind)
	case at >= 0 && at != size:
		return blob.Attrs{}, fmt.Errorf("blob %q of %d bytes: %w", name, size, blob.ErrPosition)
	case d.Parts >= blob.MaxAppends:
		return blob.Attrs{}, fmt.Errorf("blob %q: %w", name, blob.ErrTooMany)
	case size+int64(len(data)) > b.s.max:
		return blob.Attrs{}, fmt.Errorf("blob %q: %w", name, blob.ErrTooLarge)
	}
	c, _, err := b.upload(ctx, name, "", bytes.NewReader(data), b.s.max)
	if err != nil {
		return blob.Attrs{}, err
	}
	if c.Size > 0 {
		d.Chunks = append(d.Chunks, c)
	}
	d.Parts++
	a, err := b.replace(ctx, d, nil)
	if err != nil {
		b.drop(ctx, name, c)
	}
	return a, err
}

// Delete implements [blob.Bucket].
func (b bucket) Delete(ctx context.Context, name string, check blob.Check) error {
	if err := b.begin(ctx, name); err != nil {
		return err
	}
	defer b.hold(name)()
	d, err := b.must(ctx, name)
	if err == nil && check != nil {
		err = check(d.attrs())
	}
	if err != nil {
		return err
	}
	if err := b.s.remove(ctx, b.docKey(name)); err != nil {
		return fault("delete blob", err)
	}
	b.forget(context.WithoutCancel(ctx), name, nil)
	return nil
}

// forget deletes the chunks of a blob that a document does not list.
func (b bucket) forget(ctx context.Context, name string, d *document) {
	b.s.mu.Lock()
	delete(b.s.staged, b.name+"/"+name)
	b.s.mu.Unlock()
	kept := d.keys()
	at := b.chunks(name)
	// What stays is swept later.
	_ = b.s.each(ctx, at, "", true, func(o minio.ObjectInfo) (bool, error) {
		if !kept[o.Key[len(at):]] {
			return true, b.s.remove(ctx, o.Key)
		}
		return true, nil
	})
}
