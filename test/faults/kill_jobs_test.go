package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// storage makes a container of the hub's storage and returns how to use it by
// storage clients, and its address for jobs.
func (w *world) storage(t *testing.T, data, name string) (blob func(method, blob, extra string, body []byte) []byte, uri string) {
	t.Helper()
	sign := func(grant map[string]any) string {
		grant["seconds"] = 600
		var a struct{ Path, Query string }
		if err := json.Unmarshal(w.admin(t, data, "POST", "/hubs/"+w.Ready().Hub+"/blob-signatures", grant), &a); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("https://localhost:%d%s?%s", w.Ready().HTTPSPort, a.Path, a.Query)
	}
	use := func(method, address string, body []byte) []byte {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("x-ms-version", "2021-12-02")
		req.Header.Set("x-ms-blob-type", "BlockBlob")
		res, err := w.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode > 299 {
			t.Fatalf("%s %s: %d %s %v", method, name, res.StatusCode, text, err)
		}
		return text
	}
	use("PUT", strings.Replace(sign(map[string]any{"permissions": "c"}), "?", "/"+name+"?restype=container&", 1), nil)
	uri = sign(map[string]any{"container": name, "permissions": "rcwl"})
	return func(method, blob, extra string, body []byte) []byte {
		t.Helper()
		return use(method, strings.Replace(uri, "?", "/"+blob+"?"+extra, 1), body)
	}, uri
}

// killUntilEnded kills the server again and again while a job goes on, each time
// when done has grown, and returns the job as it has ended.
func (w *world) killUntilEnded(t *testing.T, path string, kills int, done func(job map[string]any) float64) map[string]any {
	t.Helper()
	seen := 0.0
	for until := time.Now().Add(patience); time.Now().Before(until); {
		status, body, err := w.rest(t, "GET", path, nil)
		if err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %s %v", path, status, body, err)
		}
		var job map[string]any
		if err := json.Unmarshal(body, &job); err != nil {
			t.Fatal(err)
		}
		switch n := done(job); {
		case job["status"] == "completed" || job["status"] == "failed" || job["status"] == "cancelled":
			t.Logf("%s: %d kills were not made", path, kills)
			return job
		case kills > 0 && n > seen:
			seen = n
			kills--
			w.kill(t)
		}
		<-time.After(5 * time.Millisecond) // how far a job is can only be asked
	}
	t.Fatalf("%s does not end", path)
	return nil
}

// TestKillWithJobs kills the server in the middle of a job over many twins, of an
// export, and of an import: they finish, and nothing is lost or done twice that
// must not be.
func TestKillWithJobs(t *testing.T) {
	t.Parallel()
	devices := rounds(2000)
	all := devices + 1 // quickstart has one of its own
	data := t.TempDir()
	w := newWorld(t, data)
	for i := 0; i < devices; i += 100 {
		var items []map[string]any
		for k := i; k < i+100; k++ {
			items = append(items, map[string]any{"id": fmt.Sprintf("d%05d", k), "importMode": "create"})
		}
		if status, body, err := w.rest(t, "POST", "/devices", items); err != nil || status != http.StatusOK {
			t.Fatalf("create: %d %s %v", status, body, err)
		}
	}

	// Whether the first kill comes before or after the job is durable is seen
	// from the answer.
	request := map[string]any{"type": "scheduleUpdateTwin", "queryCondition": "STARTSWITH(deviceId, 'd0')", "updateTwin": map[string]any{"tags": map[string]any{"touched": true}}}
	if status, body, err := w.rest(t, "PUT", "/jobs/v2/twins", request); err != nil || status != http.StatusOK {
		t.Fatalf("job: %d %s %v", status, body, err)
	}
	statistic := func(job map[string]any, name string) float64 {
		n, _ := job["deviceJobStatistics"].(map[string]any)[name].(float64)
		return n
	}
	w.kill(t)
	job := w.killUntilEnded(t, "/jobs/v2/twins", 4, func(job map[string]any) float64 { return statistic(job, "succeededCount") })
	if job["status"] != "completed" || statistic(job, "deviceCount") != float64(devices) || statistic(job, "succeededCount") != float64(devices) {
		t.Errorf("job: %v", job)
	}
	status, body, err := w.rest(t, "POST", "/devices/query", map[string]any{"query": "SELECT COUNT() AS n FROM devices WHERE tags.touched = true"})
	if want := fmt.Sprintf(`[{"n":%d}]`, devices); err != nil || string(body) != want {
		t.Errorf("touched: %d %s %v, want %s", status, body, err, want)
	}

	blob, uri := w.storage(t, data, "backup")
	begin := func(request map[string]any) string {
		t.Helper()
		status, body, err := w.rest(t, "POST", "/jobs/create", request)
		var j struct{ JobID string }
		if err != nil || status != http.StatusOK || json.Unmarshal(body, &j) != nil {
			t.Fatalf("transfer: %d %s %v", status, body, err)
		}
		return "/jobs/" + j.JobID
	}
	progress := func(job map[string]any) float64 { n, _ := job["progress"].(float64); return n }
	path := begin(map[string]any{"type": "export", "outputBlobContainerUri": uri})
	w.kill(t)
	if job := w.killUntilEnded(t, path, 3, progress); job["status"] != "completed" {
		t.Errorf("export: %v", job)
	}
	if n := bytes.Count(blob("GET", "devices.txt", "", nil), []byte("\n")); n != all {
		t.Errorf("%d lines exported, want %d", n, all)
	}

	var text bytes.Buffer
	for i := range devices {
		fmt.Fprintf(&text, "{\"id\":\"n%05d\",\"importMode\":\"create\"}\n{\"id\":\"d%05d\",\"importMode\":\"delete\"}\n", i, i)
	}
	blob("PUT", "changes.txt", "", text.Bytes())
	path = begin(map[string]any{"type": "import", "inputBlobContainerUri": uri, "inputBlobName": "changes.txt", "outputBlobContainerUri": uri})
	w.kill(t)
	if job := w.killUntilEnded(t, path, 4, progress); job["status"] != "completed" {
		t.Errorf("import: %v", job)
	}
	if list := blob("GET", "", "restype=container&comp=list&", nil); bytes.Contains(list, []byte("importErrors.log")) {
		t.Errorf("errors of the import: %s", blob("GET", "importErrors.log", "", nil))
	}
	status, body, err = w.rest(t, "POST", "/devices/query", map[string]any{"query": "SELECT COUNT() AS n FROM devices WHERE STARTSWITH(deviceId, 'n')"})
	if want := fmt.Sprintf(`[{"n":%d}]`, devices); err != nil || string(body) != want {
		t.Errorf("imported: %d %s %v, want %s", status, body, err, want)
	}
	status, body, err = w.rest(t, "GET", "/statistics/devices", nil)
	if want := fmt.Sprintf(`"totalDeviceCount":%d`, all); err != nil || !strings.Contains(string(body), want) {
		t.Errorf("statistics: %d %s %v, want %s", status, body, err, want)
	}
}
