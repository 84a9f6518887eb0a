package dirblob_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/driver/dirblob"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

// TestTransfer reads and writes a hub's own storage the way imports and exports
// do.
func TestTransfer(t *testing.T) {
	store, err := dirblob.Open(t.TempDir(), dirblob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ctx, key := t.Context(), []byte("a key of the account")
	if err := store.Create(ctx, "backup"); err != nil {
		t.Fatal(err)
	}
	own := transfer.Own{
		Accounts: func(host string) ([]byte, blob.Store, bool) { return key, store, host == "hub.example" },
		Other:    transfer.HTTPS{},
	}
	soon := time.Now().Add(time.Hour).Truncate(time.Second)
	open := func(prefix string, g blobsas.Grant) (transfer.Container, error) {
		return own.Open(causeway.Secret("https://" + prefix + "?" + blobsas.Sign(key, g)))
	}
	rw := blobsas.Grant{Container: "backup", Permissions: "rcw", Expiry: soon}
	for _, prefix := range []string{"hub.example/backup", "HUB.example:8443/causeway/backup/"} {
		c, err := open(prefix, rw)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for i, part := range []string{"one ", "two ", "three"} {
			ids = append(ids, fmt.Sprintf("causeway-%08d", i))
			if err := c.Stage(ctx, "a/b.txt", ids[i], []byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Commit(ctx, "a/b.txt", ids); err != nil {
			t.Fatal(err)
		}
		etag := ""
		for off, want := range map[int64]string{0: "one two three", 4: "two three", 13: ""} {
			o, err := c.Read(ctx, "a/b.txt", off, etag)
			if err != nil {
				t.Fatalf("from %d: %v", off, err)
			}
			text, err := io.ReadAll(o)
			if string(text) != want || o.Size != 13 || o.ETag == "" || err != nil {
				t.Errorf("from %d: %q, %+v, %v", off, text, o, err)
			}
			etag = o.ETag
			o.Close()
		}
		if _, err := c.Read(ctx, "a/b.txt", 0, "other"); causeway.CodeOf(err) != causeway.PreconditionFailed {
			t.Errorf("another etag: %v", err)
		}
		if _, err := c.Read(ctx, "none", 0, ""); causeway.CodeOf(err) != causeway.InvalidStorageEndpointOrBlob {
			t.Errorf("no blob: %v", err)
		}
	}
	for _, x := range []struct {
		name  string
		path  string
		grant blobsas.Grant
		code  causeway.Code // of opening
		read  causeway.Code
		write causeway.Code
	}{
		{"the account", "hub.example/backup", blobsas.Grant{Permissions: "rw", Expiry: soon}, 0, 0, 0},
		{"read only", "hub.example/backup", blobsas.Grant{Container: "backup", Permissions: "r", Expiry: soon}, 0, 0, causeway.InvalidStorageEndpoint},
		{"create only", "hub.example/backup", blobsas.Grant{Container: "backup", Permissions: "c", Expiry: soon}, 0, causeway.InvalidStorageEndpoint, causeway.GenericConflict},
		{"expired", "hub.example/backup", blobsas.Grant{Container: "backup", Permissions: "rcw", Expiry: soon.Add(-2 * time.Hour)}, 0, causeway.InvalidStorageEndpoint, causeway.InvalidStorageEndpoint},
		{"a container that is not there", "hub.example/gone", blobsas.Grant{Container: "gone", Permissions: "rcw", Expiry: soon}, 0, causeway.BlobContainerValidationError, causeway.BlobContainerValidationError},
		{"a blob's", "hub.example/backup", blobsas.Grant{Container: "backup", Blob: "a/b.txt", Permissions: "rcw", Expiry: soon}, causeway.BlobContainerValidationError, 0, 0},
		{"another container's", "hub.example/other", rw, causeway.BlobContainerValidationError, 0, 0},
		{"no container", "hub.example/causeway", rw, causeway.BlobContainerValidationError, 0, 0},
		{"a path", "hub.example/backup/a", rw, causeway.BlobContainerValidationError, 0, 0},
	} {
		c, err := open(x.path, x.grant)
		if causeway.CodeOf(err) != x.code {
			t.Errorf("%s: %v, want %v", x.name, err, x.code)
		}
		if err != nil || x.code != 0 {
			continue
		}
		o, err := c.Read(ctx, "a/b.txt", 0, "")
		if causeway.CodeOf(err) != x.read {
			t.Errorf("%s: read: %v, want %v", x.name, err, x.read)
		}
		if err == nil {
			o.Close()
		}
		if err = c.Stage(ctx, "a/b.txt", "x", []byte("y")); err == nil {
			err = c.Commit(ctx, "a/b.txt", []string{"x"})
		}
		if causeway.CodeOf(err) != x.write {
			t.Errorf("%s: write: %v, want %v", x.name, err, x.write)
		}
	}
	if _, err := own.Open("https://hub.example/backup?sv=2021-12-02&sr=c&sp=rw&se=2099-01-01T00:00:00Z&sig=AAAA"); causeway.CodeOf(err) != causeway.BlobContainerValidationError {
		t.Errorf("a forged signature: %v", err)
	}
	if _, err := own.Open("https://elsewhere.example/c?sig=x"); err != nil {
		t.Errorf("elsewhere: %v", err)
	}
}
