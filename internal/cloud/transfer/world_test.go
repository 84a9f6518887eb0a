package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
	"github.com/causeway-iot/causeway/internal/cloud/transfer/transfertest"
)

const hubName = "plant"

// plain is a sealer that shows whether it was asked.
type plain struct{}

func (plain) Seal(s causeway.Secret, bind string) (causeway.Secret, error) {
	return causeway.Secret(bind) + "|" + s, nil
}

func (plain) Open(s causeway.Secret, bind string) (causeway.Secret, error) {
	rest, ok := strings.CutPrefix(string(s), bind+"|")
	if !ok {
		return "", fmt.Errorf("%q was not sealed for %s", s, bind)
	}
	return causeway.Secret(rest), nil
}

// storage is containers in memory. Fault, if set, is asked before each use.
type storage struct {
	mu     sync.Mutex
	blobs  map[string]string // container/name
	blocks map[string][]byte // container/name/id
	fault  func(what string) error
	cut    int64 // bytes after which a blob that is read breaks, once; 0 is never
}

type container struct {
	s    *storage
	name string
}

func (s *storage) Open(uri causeway.Secret) (transfer.Container, error) {
	name, ok := strings.CutPrefix(string(uri), "mem:")
	if !ok {
		return nil, causeway.Errorf(causeway.BlobContainerValidationError, "test", "not mem:")
	}
	return container{s, name}, nil
}

func (s *storage) use(what string) error {
	s.mu.Lock()
	f := s.fault
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(what)
}

func (c container) Read(_ context.Context, name string, off int64, etag string) (transfer.Object, error) {
	if err := c.s.use("read"); err != nil {
		return transfer.Object{}, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	text, ok := c.s.blobs[c.name+"/"+name]
	if !ok {
		return transfer.Object{}, causeway.Errorf(causeway.InvalidStorageEndpointOrBlob, "test", "no blob %s", name)
	}
	tag := fmt.Sprint(len(text))
	if etag != "" && etag != tag {
		return transfer.Object{}, causeway.Errorf(causeway.PreconditionFailed, "test", "another blob")
	}
	var r io.Reader = strings.NewReader(text[off:])
	if c.s.cut > 0 {
		r = io.MultiReader(io.LimitReader(r, c.s.cut), broken{})
		c.s.cut = 0
	}
	return transfer.Object{ReadCloser: io.NopCloser(r), Size: int64(len(text)), ETag: tag}, nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (c container) Stage(_ context.Context, name, id string, data []byte) error {
	if err := c.s.use("stage"); err != nil {
		return err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.blocks[c.name+"/"+name+"/"+id] = bytes.Clone(data)
	return nil
}

func (c container) Commit(_ context.Context, name string, ids []string) error {
	if err := c.s.use("commit"); err != nil {
		return err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	var all strings.Builder
	for _, id := range ids {
		b, ok := c.s.blocks[c.name+"/"+name+"/"+id]
		if !ok {
			return causeway.Errorf(causeway.InvalidStorageEndpoint, "test", "no block %s", id)
		}
		all.Write(b)
	}
	c.s.blobs[c.name+"/"+name] = all.String()
	return nil
}

func (s *storage) put(path, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[path] = text
}

func (s *storage) get(path string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs[path]
}

// world is the service on stores in memory; the test is in a bubble.
type world struct {
	t        *testing.T
	storage  *storage
	store    transfer.Store
	records  registry.Store
	registry transfer.Registry
	service  *transfer.Service
	stop     func()
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, storage: &storage{blobs: map[string]string{}, blocks: map[string][]byte{}}, store: transfertest.NewMemory(hubName, "other"), records: storetest.NewMemory()}
	w.registry = registry.New(registry.Options{Store: w.records, Sealer: plain{}})
	return w
}

func (w *world) start() {
	w.service = transfer.New(transfer.Options{Store: w.store, Registry: w.registry, Containers: w.storage, Sealer: plain{}, Configurations: configurations{w}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.service.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
	}
}

// configurations are lines kept in the blob store, for want of anything better.
type configurations struct{ w *world }

func (c configurations) Export(_ context.Context, _ string, f func([]byte) error) error {
	for _, line := range strings.Fields(c.w.storage.get("configurations")) {
		if err := f([]byte(line)); err != nil {
			return err
		}
	}
	return nil
}

func (c configurations) Import(_ context.Context, _ string, line []byte) error {
	if !bytes.HasPrefix(line, []byte(`{"id"`)) {
		return causeway.Errorf(causeway.InvalidConfigurationContent, "test", "bad configuration")
	}
	c.w.storage.put("configurations", c.w.storage.get("configurations")+" "+string(line))
	return nil
}

func ptr[T any](v T) *T { return &v }

// job returns a job as callers ask for it.
func (w *world) job(typ string, edit func(*transfer.Request)) transfer.Job {
	w.t.Helper()
	r := transfer.Request{Type: &typ, OutputBlobContainerURI: ptr("mem:out")}
	if typ == "import" {
		r.InputBlobContainerURI = ptr("mem:in")
	}
	if edit != nil {
		edit(&r)
	}
	j, err := r.Job(hubName, time.Now().UTC())
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

func (w *world) create(typ string, edit func(*transfer.Request)) transfer.Job {
	w.t.Helper()
	j, err := w.service.Create(context.Background(), w.job(typ, edit))
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

// finish runs a job to its end and returns it.
func (w *world) finish(typ string, edit func(*transfer.Request)) transfer.Job {
	w.t.Helper()
	return w.ended(w.create(typ, edit).ID)
}

func (w *world) ended(id string) transfer.Job {
	w.t.Helper()
	for range 3600 {
		synctest.Wait()
		j, err := w.service.Get(context.Background(), hubName, id)
		if err != nil {
			w.t.Fatal(err)
		}
		if j.Status.Ended() {
			return j
		}
		time.Sleep(time.Second) //nolint:forbidigo // simulated time
	}
	w.t.Fatal("the job does not end")
	return transfer.Job{}
}

func (w *world) device(d string) (registry.Record, error) {
	return w.registry.Get(context.Background(), causeway.Identity{Hub: hubName, Device: d})
}

var errDown = errors.New("no storage")
