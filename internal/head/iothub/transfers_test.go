package iothub_test

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
)

// TestTransfers goes through the life of an export whose storage cannot be
// reached, and of the forms of old clients.
func TestTransfers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const to = `"outputBlobContainerUri":"https://storage.invalid/c?sv=1&sig=topsecret"`
		j := w.post("/jobs/create", `{"type":"export",`+to+`,"excludeKeysInExport":true,"includeConfigurations":true,"jobId":"mine"}`).want(200)
		id := j.text("jobId")
		if j.text("status") != "enqueued" || j.text("type") != "export" || j.json("excludeKeysInExport") != true || j.text("outputBlobName") != "devices.txt" || j.text("configurationsBlobName") != "configurations.txt" || j.json("startTimeUtc") != nil {
			t.Errorf("created: %s", j.body)
		}
		if strings.Contains(string(j.body), "topsecret") || id == "mine" {
			t.Errorf("created: %s", j.body)
		}
		w.post("/jobs/create", `{"type":"export",`+to+`}`).refused(causeway.JobQuotaExceeded)
		if got := w.get("/jobs/" + id).want(200); string(got.body) != string(j.body) {
			t.Errorf("read %s, created %s", got.body, j.body)
		}
		if got := w.get("/jobs/v2/" + id).want(200); got.text("jobId") != id || got.text("status") != "unknown" || got.text("type") != "unknown" {
			t.Errorf("among the scheduled jobs: %s", got.body)
		}
		if list := w.get("/jobs").want(200).json().([]any); len(list) != 1 {
			t.Errorf("%d jobs, want one", len(list))
		}
		for range 2 {
			w.delete("/jobs/"+id, "If-Match", `"`+id+`"`).want(204)
			if got := w.get("/jobs/" + id); got.text("status") != "cancelled" || got.text("endTimeUtc") == "" {
				t.Errorf("cancelled: %s", got.body)
			}
		}

		key := base64.StdEncoding.EncodeToString([]byte("an account's key"))
		old := `{"ContainerName":"c","StorageConnectionString":"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=` + key + `;EndpointSuffix=core.example"}`
		for path, typ := range map[string]string{"/$admin/exportRegistry": "export", "/%24admin/importRegistry": "import"} {
			a := w.post(path, old).want(200)
			if a.text("type") != typ || a.text("outputBlobContainerUri") != "https://acc.blob.core.example/c" {
				t.Errorf("%s: %s", path, a.body)
			}
			w.delete("/jobs/" + a.text("jobId")).want(204)
		}
		// What runs fails when nobody answers, and says so.
		w.put("/devices/d", `{}`).want(200)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.transfers.Run(ctx) }()
		id = w.post("/jobs/create", `{"type":"export",`+to+`}`).want(200).text("jobId")
		var last answer
		for range 600 {
			if last = w.get("/jobs/" + id); last.text("status") == "failed" {
				break
			}
			time.Sleep(time.Second) //nolint:forbidigo // simulated time
		}
		if reason, _ := last.json("failureReason").(string); !strings.Contains(reason, "storage.invalid") || strings.Contains(reason, "topsecret") {
			t.Errorf("failed: %s", last.body)
		}
		cancel()
		<-done
	})
}

// unreachable is storage that nobody answers for, without a network.
type unreachable struct{ transfer.Containers }

func (u unreachable) Open(uri causeway.Secret) (transfer.Container, error) {
	if _, err := u.Containers.Open(uri); err != nil {
		return nil, err
	}
	return nobody{}, nil
}

type nobody struct{}

func (nobody) fault() error {
	return causeway.Errorf(causeway.ServiceUnavailable, "test", "the container at storage.invalid cannot be reached")
}

func (n nobody) Read(context.Context, string, int64, string) (transfer.Object, error) {
	return transfer.Object{}, n.fault()
}
func (n nobody) Stage(context.Context, string, string, []byte) error { return n.fault() }
func (n nobody) Commit(context.Context, string, []string) error      { return n.fault() }
