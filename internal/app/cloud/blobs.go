package cloud

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/upload"
	port "github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/driver/dirblob"
	"github.com/causeway-iot/causeway/internal/driver/s3blob"
	"github.com/causeway-iot/causeway/internal/head/blob"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

// blobKey is what the keys of all storage accounts are derived from.
type blobKey causeway.Secret

const blobKeySize = 32

// openBlobKey returns the key in dir, and makes one on the first start.
func openBlobKey(dir string) (blobKey, error) {
	path := filepath.Join(dir, BlobKeyFile)
	text, err := state.ReadSecret(path)
	switch {
	case err == nil:
		if b, err := base64.StdEncoding.DecodeString(text); err != nil || len(b) < blobKeySize {
			return "", fmt.Errorf("read the key of blobs: %s is not base64 of %d bytes; remove it to have a new one made, which ends all signatures", path, blobKeySize)
		}
		return blobKey(text), nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read the key of blobs: %w", err)
	}
	b := make([]byte, blobKeySize)
	rand.Read(b) //nolint:errcheck // crypto/rand.Read never fails
	text = base64.StdEncoding.EncodeToString(b)
	if err := state.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("make the key of blobs: %w", err)
	}
	return blobKey(text), nil
}

// of returns the key of a hub's storage account. A hub that is made again under
// the same name has another.
func (k blobKey) of(d directory.Hub) []byte {
	h := hmac.New(sha512.New, []byte(k))
	_, _ = h.Write([]byte("blob account\x00" + d.Name + "\x00" + strconv.FormatInt(d.Created.UnixNano(), 10))) // a hash never fails
	return h.Sum(nil)
}

// blobStore is an engine of blobs.
type blobStore interface {
	port.Store
	// Run forgets what nobody wants any more, until ctx ends.
	Run(ctx context.Context) error
	Close() error
}

// openBlobs opens the blobs of a hub: in the data directory, or in the bucket
// that the configuration names.
func (c *Cloud) openBlobs(ctx context.Context, d directory.Hub) (blobStore, error) {
	s3 := c.cfg.Blobs
	if s3.Endpoint == "" {
		return dirblob.Open(filepath.Join(c.cfg.Data, HubsDir, d.Name, BlobsDir), dirblob.Options{})
	}
	secret, err := state.ReadSecret(s3.SecretKeyFile)
	if err != nil {
		return nil, fmt.Errorf("blobs.secretKeyFile: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, openBlobsTimeout)
	defer cancel()
	return s3blob.Open(ctx, s3blob.Options{
		Endpoint: s3.Endpoint, Bucket: s3.Bucket, Region: s3.Region, Access: s3.AccessKey, Secret: causeway.Secret(secret), Plain: s3.Plain,
		// A hub that is made again under the same name has other blobs.
		Prefix: s3.Prefix + d.Name + "-" + strconv.FormatInt(d.Created.UnixNano(), 36) + "/",
	})
}

// openBlobsTimeout bounds how long a start waits for a bucket.
const openBlobsTimeout = 30 * time.Second

// removeBlobs deletes blobs of a hub that was deleted, where they are not in its
// directory.
func removeBlobs(ctx context.Context, s blobStore) error {
	if r, ok := s.(interface {
		RemoveAll(ctx context.Context) error
	}); ok {
		return r.RemoveAll(ctx)
	}
	return nil
}

// storage returns the storage of a hub that runs.
func (h *hubs) storage(hub string) (upload.Storage, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.running[hub]
	if r == nil {
		return upload.Storage{}, false
	}
	return r.storage, true
}

// uploadPolicy returns how a hub treats uploads.
func (c *Cloud) uploadPolicy(hub string) upload.Policy {
	h, ok := c.directory.Get(hub)
	if !ok {
		return upload.Policy{Disabled: true}
	}
	s := h.Settings
	return upload.Policy{Disabled: s.FileUploadDisabled, Container: s.FileUploadContainer, TTL: s.FileUploadTTL}
}

// signBlob signs access to the blobs of a hub.
func (c *Cloud) signBlob(hub string, g blobsas.Grant) (causeway.Secret, bool) {
	s, ok := c.hubs.storage(hub)
	if !ok {
		return "", false
	}
	return causeway.Secret(blobsas.Sign(s.Key, g)), true
}

// blobHead answers storage clients.
func (c *Cloud) blobHead() http.Handler {
	s := &blob.Server{
		Accounts: func(host string) (blob.Account, bool) {
			h, ok := c.set.ByHost(host)
			if !ok {
				return blob.Account{}, false
			}
			s, ok := c.hubs.storage(h.Name())
			return blob.Account{Key: s.Key, Store: s.Store}, ok
		},
		Log: c.log, Metrics: obs.NewHead(c.reg, "blob"),
	}
	return s.Handler()
}
