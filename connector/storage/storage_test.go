package storage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/avro/ocf"
	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/connector/storage"
	"github.com/causeway-iot/causeway/plugin"
	"github.com/causeway-iot/causeway/plugin/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bucket is a container in memory.
type bucket struct {
	mu    sync.Mutex
	files map[string][]byte
	of    map[string]string
	fail  error
}

func (b *bucket) Put(_ context.Context, name, _, of string, r io.Reader) error {
	if b.fail != nil {
		return b.fail // without reading
	}
	b.mu.Lock()
	was, there := b.of[name]
	b.mu.Unlock()
	if there && was != of {
		return plugin.ErrTaken
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = map[string]string{}
	}
	b.files[name], b.of[name] = text, of
	return nil
}

func open(t *testing.T, b *bucket, settings string) plugin.Archiver {
	t.Helper()
	return plugintest.Open(t, storage.New, json.RawMessage(settings), nil, plugin.Env{Hub: "plant", Container: func(name string) (plugin.Container, error) {
		if name != "telemetry" {
			return nil, errors.New("there is no such container")
		}
		return b, nil
	}}).(plugin.Archiver)
}

var noon = time.Date(2026, 3, 4, 12, 5, 59, 0, time.UTC)

func chunk(n int, bad error) plugin.Chunk {
	return plugin.Chunk{Partition: 2, First: 17, Time: noon, Messages: func(yield func(*causeway.Message, error) bool) {
		for i := range n {
			m := causeway.Message{
				From: causeway.Identity{Hub: "plant", Device: "press-1"}, Enqueued: noon, Source: causeway.SourceTelemetry,
				Body: fmt.Appendf(nil, `{"n":%d}`, i), Properties: []causeway.Property{{Key: "k", Value: "ü"}},
			}
			if i%2 == 0 {
				m.ContentType, m.ContentEncoding = "application/json", "utf-8"
			}
			if !yield(&m, nil) {
				return
			}
		}
		if bad != nil {
			yield(nil, bad)
		}
	}}
}

type record struct {
	EnqueuedTimeUtc  string
	Properties       map[string]string
	SystemProperties map[string]string
	Body             []byte
}

func TestAvro(t *testing.T) {
	for _, encoding := range []string{"avro", "avrodeflate"} {
		b := &bucket{files: map[string][]byte{}}
		s := open(t, b, `{"containerName":"telemetry","encoding":"`+encoding+`"}`)
		if w := s.Window(); w.Age != 5*time.Minute || w.Bytes != 300<<20 {
			t.Errorf("window %+v", w)
		}
		if err := s.Archive(t.Context(), chunk(5000, nil)); err != nil {
			t.Fatal(err)
		}
		text, ok := b.files["plant/2/2026/03/04/12/05.avro"]
		if !ok {
			t.Fatalf("files %v", b.files)
		}
		r, err := ocf.NewReader(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5000 {
			var got record
			if err := r.Decode(&got); err != nil {
				t.Fatalf("record %d: %v", i, err)
			}
			if string(got.Body) != fmt.Sprintf(`{"n":%d}`, i) || got.EnqueuedTimeUtc != "2026-03-04T12:05:59.0000000Z" ||
				got.Properties["k"] != "ü" || got.SystemProperties["connectionDeviceId"] != "press-1" {
				t.Fatalf("record %d: %+v", i, got)
			}
		}
		if err := r.Decode(&record{}); !errors.Is(err, io.EOF) {
			t.Errorf("after the last: %v", err)
		}
		python(t, text)
	}
}

// python has the library that most readers of such files use read one.
func python(t *testing.T, file []byte) {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		p, err := exec.LookPath(name)
		if err != nil || exec.CommandContext(t.Context(), p, "-c", "import fastavro").Run() != nil {
			continue
		}
		cmd := exec.CommandContext(t.Context(), p, "-c", `import sys, io, fastavro
r = list(fastavro.reader(io.BytesIO(sys.stdin.buffer.read())))
print(len(r), r[4999]["Body"].decode(), r[0]["SystemProperties"]["connectionDeviceId"])`)
		cmd.Stdin = bytes.NewReader(file)
		if out, err := cmd.Output(); err != nil || strings.TrimSpace(string(out)) != `5000 {"n":4999} press-1` {
			t.Errorf("fastavro: %s %v", out, err)
		}
		return
	}
	t.Log("fastavro is not installed: not read by it")
}

func TestLines(t *testing.T) {
	b := &bucket{files: map[string][]byte{}}
	s := open(t, b, `{"containerName":"telemetry","encoding":"json","fileNameFormat":"{YYYY}-{MM}-{DD}/{HH}_{mm}_{partition}_{iothub}","batchFrequencyInSeconds":60,"maxChunkSizeInBytes":10485760}`)
	if err := s.Archive(t.Context(), chunk(2, nil)); err != nil {
		t.Fatal(err)
	}
	want := `{"EnqueuedTimeUtc":"2026-03-04T12:05:59.0000000Z","Properties":{"k":"ü"},"SystemProperties":{"connectionDeviceId":"press-1","contentEncoding":"utf-8",` +
		`"contentType":"application/json","enqueuedTime":"2026-03-04T12:05:59.0000000Z","iothub-message-source":"Telemetry"},"Body":{"n":0}}` + "\n" +
		`{"EnqueuedTimeUtc":"2026-03-04T12:05:59.0000000Z","Properties":{"k":"ü"},"SystemProperties":{"connectionDeviceId":"press-1",` +
		`"enqueuedTime":"2026-03-04T12:05:59.0000000Z","iothub-message-source":"Telemetry"},"Body":"eyJuIjoxfQ=="}` + "\n"
	if got := string(b.files["2026-03-04/12_05_2_plant.json"]); got != want {
		t.Errorf("files %q", b.files)
	}
	// The minute has a file already, or may have.
	c := chunk(1, nil)
	c.Follows = noon.Add(-10 * time.Second)
	if err := s.Archive(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.files["2026-03-04/12_05_2_plant-17.json"]; !ok || len(b.files) != 2 {
		t.Errorf("files %q", b.files)
	}
	c.Follows = noon.Add(-time.Minute)
	if err := s.Archive(t.Context(), c); err != nil || len(b.files) != 2 {
		t.Errorf("files %q: %v", b.files, err)
	}
	if err := s.Send(t.Context(), []causeway.Message{{Enqueued: noon, Sequence: 9}}); err != nil || len(b.files["2026-03-04/12_05_0_plant-9.json"]) == 0 {
		t.Errorf("files %q: %v", b.files, err)
	}
}

// Nothing is lost where several endpoints write to one container, nor where one is
// removed and made again: a file replaces only what is of the same chunk.
func TestTaken(t *testing.T) {
	b := &bucket{files: map[string][]byte{}}
	sink := func(endpoint string) plugin.Archiver {
		return plugintest.Open(t, storage.New, json.RawMessage(`{"containerName":"telemetry","encoding":"json"}`), nil, plugin.Env{
			Hub: "plant", Endpoint: endpoint, Container: func(string) (plugin.Container, error) { return b, nil },
		}).(plugin.Archiver)
	}
	write := func(s plugin.Archiver, c plugin.Chunk) {
		t.Helper()
		if err := s.Archive(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	one, other := sink("one"), sink("other")
	write(one, chunk(1, nil))
	write(other, chunk(2, nil))
	later := chunk(3, nil) // of the next queue of that name, which begins anew
	later.Time = later.Time.Add(-time.Second)
	write(one, later)
	again := chunk(4, nil) // what was written already, and more
	write(one, again)
	var lines []int
	for _, name := range slices.Sorted(maps.Keys(b.files)) {
		if !strings.HasPrefix(name, "plant/2/2026/03/04/12/05") || !strings.HasSuffix(name, ".json") {
			t.Errorf("file %q", name)
		}
		lines = append(lines, bytes.Count(b.files[name], []byte("\n")))
	}
	if want := []int{3, 2, 4}; !slices.Equal(lines, want) {
		t.Errorf("files of %v lines, want %v: %v", lines, want, slices.Sorted(maps.Keys(b.files)))
	}
}

// What cannot be written whole is not there.
func TestFailures(t *testing.T) {
	b := &bucket{files: map[string][]byte{}}
	lost := errors.New("lost")
	for _, encoding := range []string{"avro", "json"} {
		s := open(t, b, `{"containerName":"telemetry","encoding":"`+encoding+`"}`)
		if err := s.Archive(t.Context(), chunk(10, lost)); !errors.Is(err, lost) || len(b.files) != 0 {
			t.Errorf("%s: %v, files %v", encoding, err, b.files)
		}
		b.fail = errors.New("no room")
		if err := s.Archive(t.Context(), chunk(10_000, nil)); !errors.Is(err, b.fail) {
			t.Errorf("%s: %v", encoding, err)
		}
		b.fail = nil
	}
	s := open(t, b, `{"containerName":"elsewhere"}`)
	if err := s.Archive(t.Context(), chunk(1, nil)); err == nil || plugin.FailureOf(err).Permanent {
		t.Errorf("a container that is not there: %v", err)
	}
}

var badInput = []struct{ name, settings, says string }{
	{"storage without a container", `{}`, `"containerName" is missing`},
	{"storage with a container without a name", `{"containerName":""}`, "containerName"},
	{"storage with an unknown encoding", `{"containerName":"ccc","encoding":"csv"}`, "avro, avrodeflate or json"},
	{"storage that writes too often", `{"containerName":"ccc","batchFrequencyInSeconds":59}`, "60 to 720"},
	{"storage that writes too seldom", `{"containerName":"ccc","batchFrequencyInSeconds":721}`, "60 to 720"},
	{"storage with small files", `{"containerName":"ccc","maxChunkSizeInBytes":1000}`, "10485760"},
	{"storage with files without a minute", `{"containerName":"ccc","fileNameFormat":"{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}"}`, "each of"},
	{"storage with an unknown part in names of files", `{"containerName":"ccc","fileNameFormat":"{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}/{x}"}`, "besides"},
	{"storage with names of files that go up", `{"containerName":"ccc","fileNameFormat":"../{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}"}`, "besides"},
	{"storage with names of files from the root", `{"containerName":"ccc","fileNameFormat":"/{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}"}`, "besides"},
}

func TestBadInput(t *testing.T) {
	r := &plugin.Registry{}
	plugin.AddSink(r, "storage", "", storage.New)
	for _, row := range badInput {
		t.Run(row.name, func(t *testing.T) {
			if err := r.Check("storage", json.RawMessage(row.settings), nil); err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %v, want …%s…", err, row.says)
			}
		})
	}
}
