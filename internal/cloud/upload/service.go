package upload

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

// Storage is where the files of a hub go.
type Storage struct {
	Store blob.Store
	Key   []byte // signs
}

// Options are what a [Service] needs.
type Options struct {
	Store Store
	// Storage finds the storage of a hub.
	Storage func(hub string) (Storage, bool)
	// Notify queues a file notification and returns once it is durable.
	Notify func(ctx context.Context, hub string, n outbox.FileNotification) error
	Policy func(hub string) Policy // nil means the defaults; called often
	Log    *slog.Logger            // nil discards
}

// Service is the uploads of all hubs. It is safe for concurrent use.
type Service struct {
	store   Store
	storage func(hub string) (Storage, bool)
	notify  func(ctx context.Context, hub string, n outbox.FileNotification) error
	policy  func(hub string) Policy
	log     *slog.Logger
	one     [64]sync.Mutex // held while a ticket is completed, by its correlation id
}

// New returns a service. It works at once, but only its Run forgets what has
// expired.
func New(o Options) *Service {
	if o.Policy == nil {
		o.Policy = func(string) Policy { return Policy{} }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{
		store: o.Store, storage: o.Storage, notify: o.Notify, log: o.Log,
		policy: func(hub string) Policy { return o.Policy(hub).withDefaults() },
	}
}

// Permit is what a device needs to upload a file.
type Permit struct {
	Ticket
	Query causeway.Secret // of the blob's address, without "?": it holds the signature
}

// Begin gives a device a ticket for a file. Name is the path of the file among
// those of the device; host is what the storage is called by the device, with
// its port unless that is 443. Codes: DefaultStorageEndpointNotConfigured (the
// hub has no uploads), ArgumentInvalid (the name),
// DeviceMaximumActiveFileUploadLimitExceeded, DeviceNotFound,
// ServiceUnavailable.
func (s *Service) Begin(ctx context.Context, device causeway.Identity, name, host string) (Permit, error) {
	const op = "upload.Begin"
	if device.IsModule() {
		return Permit{}, causeway.Errorf(causeway.InvalidOperation, op, "modules cannot upload files")
	}
	p := s.policy(device.Hub)
	storage, ok := s.storage(device.Hub)
	if !ok || p.Disabled {
		return Permit{}, causeway.Errorf(causeway.DefaultStorageEndpointNotConfigured, op, "file upload is switched off on this hub")
	}
	t := Ticket{
		Device: device, Correlation: newCorrelation(), Host: host, Container: p.Container, Blob: device.Device + "/" + name,
		Expires: time.Now().UTC().Add(p.TTL).Truncate(time.Second),
	}
	if name == "" {
		return Permit{}, causeway.Errorf(causeway.ArgumentInvalid, op, "blobName is missing or empty: name the file to upload")
	}
	if err := blob.CheckName(t.Blob); err != nil {
		return Permit{}, &causeway.Error{Code: causeway.ArgumentInvalid, Op: op, Msg: "blobName is not the name of a blob: " + err.Error(), Err: err}
	}
	if err := makeContainer(ctx, storage.Store, p.Container); err != nil {
		return Permit{}, blob.Fault(op, err)
	}
	added, err := s.store.Add(context.WithoutCancel(ctx), t, time.Now(), MaxActive)
	if err != nil {
		return Permit{}, err
	}
	if !added {
		return Permit{}, causeway.Errorf(causeway.DeviceMaximumActiveFileUploadLimitExceeded, op,
			"the device has %d uploads that are neither completed nor expired; complete one of them first", MaxActive)
	}
	query := blobsas.Sign(storage.Key, blobsas.Grant{Container: t.Container, Blob: t.Blob, Permissions: "w", Expiry: t.Expires})
	return Permit{Ticket: t, Query: causeway.Secret(query)}, nil
}

// makeContainer makes a container unless it is there.
func makeContainer(ctx context.Context, store blob.Store, name string) error {
	_, err := store.Stat(ctx, name)
	if errors.Is(err, blob.ErrNoContainer) {
		err = store.Create(ctx, name)
	}
	if errors.Is(err, blob.ErrExists) {
		return nil
	}
	return err
}

// Report is what a device says of an upload.
type Report struct {
	Correlation string
	Success     bool
	Status      int    // as the storage answered; of no consequence
	Description string // the same
}

// Complete ends an upload. After a success the back ends are told of the file,
// as it is now. Codes: InvalidFileUploadCorrelationId (there is no such ticket
// of the device), ExpiredFileUploadCorrelationId, InvalidStorageEndpointOrBlob
// (success without a file; the ticket stays), ArgumentInvalid,
// ServiceUnavailable (the ticket stays: try again).
func (s *Service) Complete(ctx context.Context, device causeway.Identity, r Report) error {
	const op = "upload.Complete"
	if len(r.Description) > MaxDescription {
		return causeway.Errorf(causeway.ArgumentInvalid, op, "statusDescription has %d bytes, at most %d are allowed", len(r.Description), MaxDescription)
	}
	unknown := causeway.Errorf(causeway.InvalidFileUploadCorrelationId, op,
		"the device has no upload with this correlationId: it is not one that the hub gave, or was completed already")
	if r.Correlation == "" || len(r.Correlation) > maxCorrelation {
		return unknown
	}
	one := s.lock(r.Correlation)
	one.Lock()
	defer one.Unlock()
	t, ok, err := s.store.Get(ctx, device, r.Correlation)
	if err != nil {
		return err
	}
	if !ok {
		return unknown
	}
	if !time.Now().Before(t.Expires) {
		return causeway.Errorf(causeway.ExpiredFileUploadCorrelationId, op, "the upload had to be completed before %s", t.Expires.Format(time.RFC3339))
	}
	if r.Success {
		if err := s.tell(ctx, t); err != nil {
			return err
		}
	} else {
		s.log.Debug("a device could not upload a file", "id", device, "status", r.Status)
	}
	return s.store.Remove(context.WithoutCancel(ctx), device, r.Correlation)
}

// lock returns what is held while a ticket is completed, so that a request that
// is sent twice tells of a file once.
func (s *Service) lock(correlation string) *sync.Mutex {
	h := fnv.New32a()
	_, _ = h.Write([]byte(correlation)) // a hash never fails
	return &s.one[h.Sum32()%uint32(len(s.one))]
}

// tell queues the notification of a file.
func (s *Service) tell(ctx context.Context, t Ticket) error {
	const op = "upload.Complete"
	storage, ok := s.storage(t.Device.Hub)
	if !ok {
		return causeway.Errorf(causeway.DefaultStorageEndpointNotConfigured, op, "file upload is switched off on this hub")
	}
	a, err := storage.Store.Container(t.Container).Head(ctx, t.Blob)
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrNoContainer) {
		return &causeway.Error{
			Code: causeway.InvalidStorageEndpointOrBlob, Op: op, Err: err,
			Msg: "isSuccess is true, but the storage does not have the file: upload it, or report isSuccess false",
		}
	}
	if err != nil {
		return blob.Fault(op, err)
	}
	where := url.URL{Scheme: "https", Host: t.Host, Path: "/" + t.Container + "/" + t.Blob}
	err = s.notify(ctx, t.Device.Hub, outbox.FileNotification{
		DeviceID: t.Device.Device, BlobURI: where.String(), BlobName: t.Blob, Modified: a.Modified, Size: a.Size,
	})
	if err != nil {
		return fmt.Errorf("queue the notification of a file: %w", err)
	}
	return nil
}

// Run forgets tickets that expired long ago, until ctx ends. A store that fails
// is tried again.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(expireInterval)
	defer tick.Stop()
	failing := false
	for {
		err := s.forget(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failing {
			s.log.Warn("tickets of uploads cannot be forgotten, trying again", "error", err)
		}
		failing = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Service) forget(ctx context.Context) error {
	for {
		n, err := s.store.Forget(ctx, time.Now().Add(-keepExpired), expireBatch)
		if err != nil || n < expireBatch {
			return err
		}
	}
}

func newCorrelation() string {
	var b [24]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
