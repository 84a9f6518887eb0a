package upload_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/cloud/upload"
	"github.com/causeway-iot/causeway/internal/cloud/upload/uploadtest"
	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/driver/dirblob"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	press = causeway.Identity{Hub: "plant", Device: "press-1"}
	lathe = causeway.Identity{Hub: "plant", Device: "lathe"}
	key   = []byte("a key of tests")
)

// world is a service on a real directory of blobs.
type world struct {
	*testing.T
	*upload.Service
	store  *uploadtest.Memory
	blobs  blob.Store
	policy upload.Policy
	refuse error // what Notify returns

	mu    sync.Mutex
	files []outbox.FileNotification
}

func newWorld(t *testing.T) *world {
	t.Helper()
	blobs, err := dirblob.Open(t.TempDir(), dirblob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = blobs.Close() })
	w := &world{T: t, store: uploadtest.NewMemory(press, lathe), blobs: blobs}
	w.Service = upload.New(upload.Options{
		Store: w.store,
		Storage: func(hub string) (upload.Storage, bool) {
			return upload.Storage{Store: blobs, Key: key}, hub == "plant"
		},
		Notify: func(_ context.Context, hub string, n outbox.FileNotification) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if hub != "plant" {
				t.Errorf("notification for hub %q", hub)
			}
			if w.refuse == nil {
				w.files = append(w.files, n)
			}
			return w.refuse
		},
		Policy: func(string) upload.Policy { return w.policy },
	})
	return w
}

func (w *world) begin(id causeway.Identity, name string) upload.Permit {
	w.Helper()
	p, err := w.Begin(w.Context(), id, name, "plant.example.com:8443")
	if err != nil {
		w.Fatalf("Begin(%q): %v", name, err)
	}
	return p
}

func (w *world) put(p upload.Permit, content string) {
	w.Helper()
	if _, err := w.blobs.Container(p.Container).Put(w.Context(), p.Blob, strings.NewReader(content), blob.Options{}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) complete(id causeway.Identity, correlation string, success bool, want causeway.Code) {
	w.Helper()
	err := w.Complete(w.Context(), id, upload.Report{Correlation: correlation, Success: success, Status: 200, Description: "done"})
	if causeway.CodeOf(err) != want {
		w.Fatalf("Complete = %v, want code %v", err, want)
	}
}

func TestUpload(t *testing.T) {
	w := newWorld(t)
	p := w.begin(press, "logs/é 1.txt")
	if p.Container != "uploads" || p.Blob != "press-1/logs/é 1.txt" || p.Host != "plant.example.com:8443" || p.Correlation == "" {
		t.Errorf("permit: %+v", p)
	}
	tok, ok, err := blobsas.Parse(string(p.Query))
	if !ok || err != nil || !tok.Verify(key, blobsas.AccountName, p.Container, p.Blob) {
		t.Fatalf("the signature is not good for the blob: %v, %v", ok, err)
	}
	if tok.Scope != blobsas.Blob || tok.Permissions != "w" || !tok.Expiry.Equal(p.Expires) {
		t.Errorf("signature: %+v", tok)
	}
	if left := time.Until(p.Expires); left < 59*time.Minute || left > time.Hour {
		t.Errorf("the permit lasts %s", left)
	}
	w.complete(press, p.Correlation, true, causeway.InvalidStorageEndpointOrBlob) // too early
	w.put(p, "content")
	w.complete(lathe, p.Correlation, true, causeway.InvalidFileUploadCorrelationId)
	w.complete(press, p.Correlation, true, 0)
	w.complete(press, p.Correlation, true, causeway.InvalidFileUploadCorrelationId)
	if len(w.files) != 1 {
		t.Fatalf("notifications: %+v", w.files)
	}
	n := w.files[0]
	u, err := url.Parse(n.BlobURI)
	if err != nil || u.Scheme != "https" || u.Host != "plant.example.com:8443" || u.Path != "/uploads/press-1/logs/é 1.txt" {
		t.Errorf("blob URI %q: %v", n.BlobURI, err)
	}
	if n.DeviceID != "press-1" || n.BlobName != p.Blob || n.Size != 7 || time.Since(n.Modified) > time.Minute {
		t.Errorf("notification: %+v", n)
	}
}

func TestFailure(t *testing.T) {
	w := newWorld(t)
	p := w.begin(press, "x")
	w.complete(press, p.Correlation, false, 0)
	w.complete(press, p.Correlation, false, causeway.InvalidFileUploadCorrelationId)
	if len(w.files) != 0 {
		t.Errorf("notifications: %+v", w.files)
	}
}

// TestAgain repeats a completion that could not be kept.
func TestAgain(t *testing.T) {
	w := newWorld(t)
	p := w.begin(press, "x")
	w.put(p, "content")
	w.refuse = causeway.Errorf(causeway.ServiceUnavailable, "test", "the disk is full")
	w.complete(press, p.Correlation, true, causeway.ServiceUnavailable)
	w.refuse = nil
	w.complete(press, p.Correlation, true, 0)
	if len(w.files) != 1 {
		t.Errorf("notifications: %+v", w.files)
	}
}

// TestTwice completes an upload several times at once.
func TestTwice(t *testing.T) {
	w := newWorld(t)
	p := w.begin(press, "x")
	w.put(p, "content")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			err := w.Complete(t.Context(), press, upload.Report{Correlation: p.Correlation, Success: true})
			if c := causeway.CodeOf(err); c != 0 && c != causeway.InvalidFileUploadCorrelationId {
				t.Errorf("Complete: %v", err)
			}
		})
	}
	wg.Wait()
	if len(w.files) != 1 {
		t.Errorf("%d notifications", len(w.files))
	}
}

func TestMostActive(t *testing.T) {
	w := newWorld(t)
	var first upload.Permit
	for i := range upload.MaxActive {
		p := w.begin(press, "x")
		if i == 0 {
			first = p
		}
	}
	_, err := w.Begin(t.Context(), press, "x", "plant")
	if causeway.CodeOf(err) != causeway.DeviceMaximumActiveFileUploadLimitExceeded {
		t.Errorf("Begin: %v", err)
	}
	w.begin(lathe, "x")
	w.complete(press, first.Correlation, false, 0)
	w.begin(press, "x")
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	for name, want := range map[string]causeway.Code{
		"":                        causeway.ArgumentInvalid,
		"../lathe/x":              causeway.ArgumentInvalid,
		"a/./b":                   causeway.ArgumentInvalid,
		"a\nb":                    causeway.ArgumentInvalid,
		"\xff":                    causeway.ArgumentInvalid,
		strings.Repeat("x", 1024): causeway.ArgumentInvalid,
	} {
		if _, err := w.Begin(t.Context(), press, name, "plant"); causeway.CodeOf(err) != want {
			t.Errorf("Begin(%q): %v, want code %v", name, err, want)
		}
	}
	module := press
	module.Module = "m"
	if _, err := w.Begin(t.Context(), module, "x", "plant"); causeway.CodeOf(err) != causeway.InvalidOperation {
		t.Errorf("Begin of a module: %v", err)
	}
	if _, err := w.Begin(t.Context(), causeway.Identity{Hub: "depot", Device: "d"}, "x", "depot"); causeway.CodeOf(err) != causeway.DefaultStorageEndpointNotConfigured {
		t.Errorf("Begin without storage: %v", err)
	}
	w.policy.Disabled = true
	if _, err := w.Begin(t.Context(), press, "x", "plant"); causeway.CodeOf(err) != causeway.DefaultStorageEndpointNotConfigured {
		t.Errorf("Begin where it is switched off: %v", err)
	}
	w.complete(press, "", true, causeway.InvalidFileUploadCorrelationId)
	w.complete(press, strings.Repeat("x", 1000), true, causeway.InvalidFileUploadCorrelationId)
	err := w.Complete(t.Context(), press, upload.Report{Correlation: "x", Description: strings.Repeat("x", upload.MaxDescription+1)})
	if causeway.CodeOf(err) != causeway.ArgumentInvalid {
		t.Errorf("Complete with a long description: %v", err)
	}
	lost := errors.New("lost")
	w.store.Fail(lost)
	w.policy.Disabled = false
	if _, err := w.Begin(t.Context(), press, "x", "plant"); !errors.Is(err, lost) {
		t.Errorf("Begin with a store that fails: %v", err)
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.policy = upload.Policy{Container: "files", TTL: 10 * time.Minute}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Service.Run(ctx) }()
		p := w.begin(press, "x")
		if p.Container != "files" {
			t.Errorf("permit: %+v", p)
		}
		w.put(p, "content")
		time.Sleep(10*time.Minute + time.Second) //nolint:forbidigo // simulated time
		w.complete(press, p.Correlation, true, causeway.ExpiredFileUploadCorrelationId)
		if w.store.Len() != 1 {
			t.Error("the ticket is forgotten already")
		}
		time.Sleep(25 * time.Hour) //nolint:forbidigo // simulated time
		synctest.Wait()
		if w.store.Len() != 0 {
			t.Error("the ticket is not forgotten")
		}
		w.complete(press, p.Correlation, true, causeway.InvalidFileUploadCorrelationId)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
