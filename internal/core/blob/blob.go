// Package blob is the port to named objects in containers: the files that
// devices upload, batches of routed messages, lists of identities that jobs
// read and write.
//
// It knows names, conditions and limits; where the bytes are is the business of
// drivers, who may read a blob and on which protocol that of its users. Drivers
// are held to the contract in blobtest.
package blob

import (
	"context"
	"fmt"
	"io"
)

// Store is a set of containers. It is safe for concurrent use. When a method
// that changes something returns nil, the change is on stable storage.
type Store interface {
	// Create makes a container. Errors: ErrName, ErrExists.
	Create(ctx context.Context, container string) error
	// Remove deletes a container with all it holds. Error: ErrNoContainer.
	Remove(ctx context.Context, container string) error
	// Stat describes a container. Error: ErrNoContainer.
	Stat(ctx context.Context, container string) (ContainerInfo, error)
	// Containers lists up to limit containers whose names begin with prefix and
	// come after a name, in the order of names.
	Containers(ctx context.Context, prefix, after string, limit int) ([]ContainerInfo, error)
	// Container returns the blobs of a container. That it exists is checked by
	// each use.
	Container(name string) Bucket
}

// Bucket is the blobs of one container. It is safe for concurrent use. When a
// method that changes something returns nil, the change is on stable storage,
// and whoever reads sees all of it or, before, nothing of it.
//
// Every method fails with ErrNoContainer when the container does not exist, and
// every method with a name with ErrName when that is not one. Methods that
// write fail with ErrFull when the storage has no room; nothing is changed then.
type Bucket interface {
	// Put stores what r has under name, in place of what was there, and reads r
	// to its end. An error of r ends it and is returned. Errors: ErrSum,
	// ErrTooLarge, and what o.Check returns.
	Put(ctx context.Context, name string, r io.Reader, o Options) (Attrs, error)

	// Get returns n bytes of a blob from an offset on, fewer when it ends
	// before; a negative n is for all. What is read is one version of the blob,
	// whatever happens to it meanwhile. The caller closes the reader. An offset
	// behind the end is ErrRange; the end itself is one only of a blob that is
	// not empty. Error: ErrNotFound.
	Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, Attrs, error)

	// Head describes a blob. Error: ErrNotFound.
	Head(ctx context.Context, name string) (Attrs, error)

	// Delete ends a blob, and what is staged for it. check may be nil. Error:
	// ErrNotFound.
	Delete(ctx context.Context, name string, check Check) error

	// List returns up to limit blobs whose names begin with prefix and come
	// after a name, in the order of names, byte by byte. After need not be a
	// name of a blob, nor valid UTF-8.
	List(ctx context.Context, prefix, after string, limit int) ([]Attrs, error)

	// Append adds data at the end of a blob of the kind Append. A position at
	// that is not negative must be where it ends. check may be nil. Errors:
	// ErrNotFound, ErrKind, ErrPosition, ErrTooLarge, ErrTooMany.
	Append(ctx context.Context, name string, data []byte, at int64, check Check) (Attrs, error)

	// Set replaces the properties of a blob, its content type for instance, by
	// what change makes of them. check may be nil. Error: ErrNotFound.
	Set(ctx context.Context, name string, change func(*Properties), check Check) (Attrs, error)

	Blocks
}

// Blocks is how a large blob is made in parts that may be sent side by side:
// blocks are staged, in any order, then a list of them becomes the blob.
type Blocks interface {
	// Stage keeps what r has as a block for a later Commit. The same id again
	// replaces the block. A sum that is not nil is the MD5 the block must have.
	// The blob itself is untouched and need not exist. Blocks that nobody
	// commits are forgotten after StagedFor at the earliest. Errors: ErrBlock
	// (no id), ErrSum, ErrTooLarge, ErrTooMany.
	Stage(ctx context.Context, name, id string, r io.Reader, sum []byte) error

	// Commit makes a blob of blocks in the order of the list, in place of what
	// was there, and forgets those that are staged. An append blob is not made
	// into one of blocks: what was appended would be lost. Errors: ErrKind,
	// ErrBlock (one of the list is not there), ErrTooMany, ErrTooLarge, and what
	// o.Check returns.
	Commit(ctx context.Context, name string, list []Ref, o Options) (Attrs, error)

	// Blocks returns the blocks a blob was made of, in order, and those that
	// are staged for it, by id. Error: ErrNotFound when there are neither.
	Blocks(ctx context.Context, name string) (committed, staged []Part, err error)
}

// Check decides whether a change may happen, from what the name holds now; nil
// for nothing. Its error ends the change and is returned. It is called last
// when nothing else can change the name before the change does; it may have
// been called before, to save work.
type Check func(now *Attrs) error

// Absent is a Check for who makes a new blob. Its error is ErrExists.
func Absent(now *Attrs) error {
	if now != nil {
		return ErrExists
	}
	return nil
}

// Unchanged returns a Check for who goes on from a version of a blob. Its error
// is ErrCondition.
func Unchanged(etag string) Check {
	return func(now *Attrs) error {
		if now == nil || now.ETag != etag {
			return ErrCondition
		}
		return nil
	}
}

// NoAppend is a Check for who makes a blob of blocks. Its error is ErrKind.
func NoAppend(now *Attrs) error {
	if now != nil && now.Kind == Append {
		return fmt.Errorf("blob %q: %w", now.Name, ErrKind)
	}
	return nil
}
