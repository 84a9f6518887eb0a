package transfer

import (
	"context"
	"fmt"
	"io"

	"github.com/causeway-iot/causeway"
)

// Containers opens containers by their addresses.
type Containers interface {
	// Open returns the container of an address; that it can be used is found
	// out by using it. Code: BlobContainerValidationError (no such address can
	// be).
	Open(uri causeway.Secret) (Container, error)
}

// Container is a container of blobs. Errors with a code of the client's (below
// 500) are final, others may pass.
type Container interface {
	// Read returns a blob from an offset on. With an etag the blob must still
	// be that one: PreconditionFailed.
	Read(ctx context.Context, name string, off int64, etag string) (Object, error)
	// Stage keeps data as a block of a blob that [Container.Commit] will make.
	// The same id again replaces it. All ids of a blob have one length.
	Stage(ctx context.Context, name, id string, data []byte) error
	// Commit makes a blob of blocks that were staged, in place of what was
	// there.
	Commit(ctx context.Context, name string, ids []string) error
}

// Object is a blob being read.
type Object struct {
	io.ReadCloser
	Size int64 // of the whole blob
	ETag string
}

// blockID names a block; blocks of one job replace those of its earlier tries.
func blockID(n int) string { return fmt.Sprintf("causeway-%08d", n) }

// writer writes a blob of any size with the memory of one block.
type writer struct {
	c    Container
	name string
	buf  []byte
	n    int // blocks staged
	try  func(ctx context.Context, doing string, f func() error) error
}

func (w *writer) add(ctx context.Context, data []byte) error {
	w.buf = append(w.buf, data...)
	if len(w.buf) < blockSize {
		return nil
	}
	return w.flush(ctx)
}

func (w *writer) flush(ctx context.Context) error {
	if len(w.buf) == 0 {
		return nil
	}
	if w.n == maxBlocks {
		return causeway.Errorf(causeway.InvalidStorageEndpoint, "transfer.write", "blob %s would have more than %d parts", w.name, maxBlocks)
	}
	err := w.try(ctx, "write "+w.name, func() error { return w.c.Stage(ctx, w.name, blockID(w.n), w.buf) })
	if err != nil {
		return err
	}
	w.n++
	w.buf = w.buf[:0]
	return nil
}

// commit makes the blob of what was added.
func (w *writer) commit(ctx context.Context) error {
	if err := w.flush(ctx); err != nil {
		return err
	}
	ids := make([]string, w.n)
	for i := range ids {
		ids[i] = blockID(i)
	}
	return w.try(ctx, "write "+w.name, func() error { return w.c.Commit(ctx, w.name, ids) })
}
