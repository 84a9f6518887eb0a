package dirblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/causeway-iot/causeway/internal/core/blob"
)

// Head implements [blob.Bucket].
func (b bucket) Head(ctx context.Context, name string) (blob.Attrs, error) {
	r, err := b.begin(ctx, name)
	if err != nil {
		return blob.Attrs{}, err
	}
	defer r.Close()
	f, err := b.file(r, name)
	if err != nil {
		return blob.Attrs{}, err
	}
	defer f.Close()
	return f.doc.attrs(), nil
}

// Get implements [blob.Bucket].
func (b bucket) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, blob.Attrs, error) {
	r, err := b.begin(ctx, name)
	if err != nil {
		return nil, blob.Attrs{}, err
	}
	defer r.Close()
	for {
		f, err := b.file(r, name)
		if err != nil {
			return nil, blob.Attrs{}, err
		}
		a := f.doc.attrs()
		if off < 0 || off > a.Size || off == a.Size && off > 0 {
			return nil, a, errors.Join(fmt.Errorf("blob %q of %d bytes: %w", name, a.Size, blob.ErrRange), f.Close())
		}
		if n < 0 || n > a.Size-off {
			n = a.Size - off
		}
		if f.doc.Append == "" {
			return &section{*io.NewSectionReader(f, off, n), f.File}, a, nil
		}
		if err := f.Close(); err != nil {
			return nil, a, fault("read blob", err)
		}
		data, err := r.Open(appendsDir + "/" + f.doc.Append)
		if errors.Is(err, fs.ErrNotExist) && b.changed(ctx, name, a.ETag) {
			continue // replaced between the two
		}
		if err != nil {
			return nil, a, fault("read append blob", err)
		}
		return &section{*io.NewSectionReader(data, headerSize(name)+off, n), data}, a, nil
	}
}

// changed reports whether a blob is not what it was.
func (b bucket) changed(ctx context.Context, name, etag string) bool {
	a, err := b.Head(ctx, name)
	return err != nil || a.ETag != etag
}
