package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// Own opens containers of the hubs' own storage without the detour over their
// ports, and leaves all others to Other. What an address allows is checked all
// the same.
type Own struct {
	// Accounts finds the storage of a hub by a host name, without port.
	Accounts func(host string) (key []byte, store blob.Store, ok bool)
	Other    Containers
}

var _ Containers = Own{}

// Open implements [Containers].
func (o Own) Open(uri causeway.Secret) (Container, error) {
	u, err := url.Parse(string(uri))
	if err != nil {
		return o.Other.Open(uri) // which knows what to say
	}
	key, store, ok := o.Accounts(strings.ToLower(sas.Host(u.Host)))
	if !ok {
		return o.Other.Open(uri)
	}
	refuse := func(why string) error {
		return causeway.Errorf(causeway.BlobContainerValidationError, "transfer.Open", "the address of the container %s: give https://{host}/{container}?{shared access signature}", why)
	}
	if u.Scheme != "https" {
		return nil, refuse("does not begin with https://")
	}
	name := strings.Trim(u.Path, "/")
	if first, rest, _ := strings.Cut(name, "/"); first == blobsas.AccountName {
		name = rest
	}
	if blob.CheckContainer(name) != nil || name == blobsas.AccountName {
		return nil, refuse("does not name a container")
	}
	t, found, err := blobsas.Parse(u.RawQuery)
	switch {
	case err != nil || !found:
		return nil, refuse("has no signature that can be read")
	case t.Scope == blobsas.Blob || !t.Verify(key, blobsas.AccountName, name, ""):
		return nil, refuse("has a signature that is not of this container")
	case t.Scope == blobsas.Account && (!strings.Contains(t.Services, "b") || !strings.Contains(t.Types, "o")):
		return nil, refuse("has a signature that is not for blobs")
	}
	return ownContainer{token: t, bucket: store.Container(name)}, nil
}

// ownContainer is a container of a hub's own storage.
type ownContainer struct {
	token  blobsas.Token
	bucket blob.Bucket
}

// may reports why the address does not allow what needs one of some permissions.
func (c ownContainer) may(permissions, what string) error {
	if !c.token.ValidAt(time.Now()) {
		return causeway.Errorf(causeway.InvalidStorageEndpoint, "transfer.container", "the signature of the container's address is not valid now")
	}
	if !c.token.Allows(permissions) {
		return causeway.Errorf(causeway.InvalidStorageEndpoint, "transfer.container", "the signature of the container's address does not allow to %s: it needs one of the permissions %q", what, permissions)
	}
	return nil
}

// Read implements [Container].
func (c ownContainer) Read(ctx context.Context, name string, off int64, etag string) (Object, error) {
	if err := c.may("r", "read"); err != nil {
		return Object{}, err
	}
	r, a, err := c.bucket.Get(ctx, name, off, -1)
	if errors.Is(err, blob.ErrRange) {
		// Everything was read before: the end of a blob is not a range.
		if a, err = c.bucket.Head(ctx, name); err == nil && a.Size < off {
			err = blob.ErrCondition
		}
		r = io.NopCloser(strings.NewReader(""))
	}
	if err != nil {
		return Object{}, blob.Fault("transfer.read", err)
	}
	if etag != "" && a.ETag != etag {
		_ = r.Close()
		return Object{}, causeway.Errorf(causeway.PreconditionFailed, "transfer.read", "the blob %.80q was changed while it was being read", name)
	}
	return Object{ReadCloser: r, Size: a.Size, ETag: a.ETag}, nil
}

// Stage implements [Container].
func (c ownContainer) Stage(ctx context.Context, name, id string, data []byte) error {
	if err := c.may("cw", "write"); err != nil {
		return err
	}
	return blob.Fault("transfer.write", c.bucket.Stage(ctx, name, encodeID(id), bytes.NewReader(data), nil))
}

// Commit implements [Container].
func (c ownContainer) Commit(ctx context.Context, name string, ids []string) error {
	if err := c.may("cw", "write"); err != nil {
		return err
	}
	list := make([]blob.Ref, len(ids))
	for i, id := range ids {
		list[i] = blob.Ref{ID: encodeID(id)}
	}
	o := blob.Options{Properties: blob.Properties{ContentType: "text/plain; charset=utf-8"}}
	if !c.token.Allows("w") {
		o.Check = blob.Absent // it may create only
	}
	_, err := c.bucket.Commit(ctx, name, list, o)
	return blob.Fault("transfer.write", err)
}
