package s3blob

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/core/keyed"
)

// Bounds of the driver.
const (
	DefaultMaxBytes = 195 << 30 // of a blob
	SweepEvery      = 24 * time.Hour

	maxDocument = 8 << 20 // of the attributes and chunks of a blob
	partBytes   = 5 << 20 // in memory for an upload: the least that S3 takes as a part
	uploads     = 32      // at once; the others wait
	lookups     = 16      // documents of a list read at once
	pageKeys    = 1000    // keys asked for at once
)

// Options of a store.
type Options struct {
	Endpoint string // host:port
	Bucket   string // must exist
	Prefix   string // of all keys; "" or one that ends in a slash
	Region   string // "" asks the service
	Access   string
	Secret   causeway.Secret
	// Plain speaks HTTP: for a service on the same machine.
	Plain bool
	// Transport replaces the default one; nil for that.
	Transport http.RoundTripper
	MaxBytes  int64 // of a blob; 0 is DefaultMaxBytes
}

// Store is a bucket, or a part of one.
type Store struct {
	client *minio.Core
	bucket string
	prefix string
	max    int64
	slots  chan struct{}

	mu     sync.Mutex
	locks  keyed.Locks[string] // by container and name
	staged map[string]int      // how many blocks a blob has, for those that were counted
}

var _ blob.Store = (*Store)(nil)

// Open returns the store in a bucket. It fails when the bucket cannot be reached.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	c, err := minio.NewCore(o.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(o.Access, string(o.Secret), ""), Secure: !o.Plain, Region: o.Region, Transport: o.Transport,
	})
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s at %s: %w", o.Bucket, o.Endpoint, err)
	}
	there, err := c.BucketExists(ctx, o.Bucket)
	if err == nil && !there {
		err = errors.New("it does not exist")
	}
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s at %s: %w", o.Bucket, o.Endpoint, err)
	}
	return &Store{
		client: c, bucket: o.Bucket, prefix: o.Prefix, max: o.MaxBytes, slots: make(chan struct{}, uploads),
		staged: map[string]int{},
	}, nil
}

// Close does nothing: a store holds nothing but connections that end by
// themselves.
func (s *Store) Close() error { return nil }

const markObject = "/.container"

// container is the document of a container.
type container struct {
	Created time.Time `json:"created"`
}

// missing reports whether err says that an object does not exist.
func missing(err error) bool {
	code := minio.ToErrorResponse(err).Code
	return code == "NoSuchKey" || code == "NotFound"
}

// fault says what was being done, and of a service without room that it is one.
func fault(doing string, err error) error {
	if err == nil {
		return nil
	}
	if r := minio.ToErrorResponse(err); r.StatusCode == http.StatusInsufficientStorage || r.Code == "XMinioStorageFull" || r.Code == "QuotaExceeded" {
		return fmt.Errorf("%s: %w: %w", doing, blob.ErrFull, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// write stores a small object.
func (s *Store) write(ctx context.Context, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxDocument {
		return fmt.Errorf("%w: its document would have %d bytes", blob.ErrTooMany, len(b))
	}
	_, err = s.client.Client.PutObject(ctx, s.bucket, key, bytes.NewReader(b), int64(len(b)), minio.PutObjectOptions{ContentType: "application/json"})
	return err
}

// read reads a small object.
func (s *Store) read(ctx context.Context, key string, v any) error {
	r, _, _, err := s.client.GetObject(ctx, s.bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("the document %s is damaged: %w", key, err)
	}
	return nil
}

// remove deletes an object; one that is gone is no error.
func (s *Store) remove(ctx context.Context, key string) error {
	if err := s.client.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{}); err != nil && !missing(err) {
		return err
	}
	return nil
}

// each calls f with the objects whose keys begin with prefix and come after one,
// in order, until it returns false.
func (s *Store) each(ctx context.Context, prefix, after string, recursive bool, f func(minio.ObjectInfo) (bool, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	list := s.client.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{
		Prefix: prefix, StartAfter: after, Recursive: recursive, MaxKeys: pageKeys,
	})
	defer func() {
		cancel()
		for range list { //nolint:revive // lets the lister end
		}
	}()
	for o := range list {
		if o.Err != nil {
			return o.Err
		}
		if on, err := f(o); err != nil || !on {
			return err
		}
	}
	return ctx.Err()
}

// Create implements [blob.Store].
func (s *Store) Create(ctx context.Context, name string) error {
	if err := blob.CheckContainer(name); err != nil {
		return err
	}
	defer s.hold(name)()
	switch _, err := s.Stat(ctx, name); {
	case err == nil:
		return fmt.Errorf("container %s: %w", name, blob.ErrExists)
	case !errors.Is(err, blob.ErrNoContainer):
		return err
	}
	// What the deletion of an earlier one has not come to must not show up.
	if err := s.empty(ctx, name); err != nil {
		return err
	}
	return fault("make container "+name, s.write(ctx, s.prefix+name+markObject, container{time.Now().UTC()}))
}

// Remove implements [blob.Store].
func (s *Store) Remove(ctx context.Context, name string) error {
	if _, err := s.Stat(ctx, name); err != nil {
		return err
	}
	defer s.hold(name)()
	if err := s.remove(ctx, s.prefix+name+markObject); err != nil {
		return fault("delete container "+name, err)
	}
	// It is gone already; what cannot be removed now is when it is made again.
	_ = s.empty(context.WithoutCancel(ctx), name)
	return nil
}

// empty removes what a container holds.
func (s *Store) empty(ctx context.Context, name string) error {
	s.mu.Lock()
	for k := range s.staged {
		if strings.HasPrefix(k, name+"/") {
			delete(s.staged, k)
		}
	}
	s.mu.Unlock()
	return fault("empty container "+name, s.each(ctx, s.prefix+name+"/", "", true, func(o minio.ObjectInfo) (bool, error) {
		return true, s.remove(ctx, o.Key)
	}))
}

// RemoveAll deletes all containers.
func (s *Store) RemoveAll(ctx context.Context) error {
	return fault("delete all blobs", s.each(ctx, s.prefix, "", true, func(o minio.ObjectInfo) (bool, error) {
		return true, s.remove(ctx, o.Key)
	}))
}

// Stat implements [blob.Store].
func (s *Store) Stat(ctx context.Context, name string) (blob.ContainerInfo, error) {
	none := fmt.Errorf("container %q: %w", name, blob.ErrNoContainer)
	if blob.CheckContainer(name) != nil {
		return blob.ContainerInfo{}, none
	}
	var c container
	err := s.read(ctx, s.prefix+name+markObject, &c)
	if missing(err) {
		return blob.ContainerInfo{}, none
	}
	if err != nil {
		return blob.ContainerInfo{}, fault("look at container "+name, err)
	}
	return blob.ContainerInfo{Name: name, ETag: fmt.Sprintf("0x8D%013X", c.Created.UnixNano()&(1<<52-1)), Created: c.Created}, nil
}

// Containers implements [blob.Store].
func (s *Store) Containers(ctx context.Context, prefix, after string, limit int) ([]blob.ContainerInfo, error) {
	var all []blob.ContainerInfo
	err := s.each(ctx, s.prefix+prefix, "", false, func(o minio.ObjectInfo) (bool, error) {
		if len(all) >= limit {
			return false, nil
		}
		name, dir := strings.CutSuffix(strings.TrimPrefix(o.Key, s.prefix), "/")
		if !dir || name <= after || blob.CheckContainer(name) != nil {
			return true, nil //nolint:nilerr // no container of ours
		}
		info, err := s.Stat(ctx, name)
		switch {
		case errors.Is(err, blob.ErrNoContainer): // deleted meanwhile
		case err != nil:
			return false, err
		default:
			all = append(all, info)
		}
		return true, nil
	})
	if err != nil {
		return nil, fault("list containers", err)
	}
	// A service lists "a-b/" before "a/".
	sortContainers(all)
	return all, nil
}

// Container implements [blob.Store].
func (s *Store) Container(name string) blob.Bucket { return bucket{s, name} }

// Run forgets blocks that nobody commits, and other leftovers, until ctx ends.
// What cannot be forgotten now is tried again.
func (s *Store) Run(ctx context.Context) error { return blob.Sweep(ctx, SweepEvery, s.Sweep) }

// hold waits for the sole right to change a name.
func (s *Store) hold(key string) (release func()) { return s.locks.Lock(key) }
