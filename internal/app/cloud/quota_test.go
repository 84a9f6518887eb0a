package cloud_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// post sends a message over HTTPS.
func (r *running) post(device string, header ...string) *http.Response {
	r.t.Helper()
	cs, err := sas.ParseConnectionString(device)
	if err != nil {
		r.t.Fatal(err)
	}
	token, err := cs.Token(time.Now().Add(time.Hour))
	if err != nil {
		r.t.Fatal(err)
	}
	url := fmt.Sprintf("https://localhost:%d/devices/%s/messages/events?api-version=2021-04-12", r.Connection().HTTPSPort, cs.DeviceID)
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, url, strings.NewReader("x"))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.options().RootCAs}}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	res.Body.Close()
	return res
}

// TestQuota shows how each protocol tells a device that the hub takes no more,
// for now and for today, and that a restart forgets nothing of the day.
func TestQuota(t *testing.T) {
	dir := t.TempDir()
	r := start(t, configFor(dir), cloud.Options{Devices: []string{"d"}})
	device := r.Connection().DeviceConnectionString
	dial := func(tr causeway.Transport) *client.Device {
		t.Helper()
		o := r.options()
		o.AMQPPort = r.Connection().AMQPPort
		d, err := client.Connect(t.Context(), client.DeviceOptions{Options: o, ConnectionString: device, Transport: tr})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	transports := []causeway.Transport{causeway.AMQP, causeway.AMQPWS, causeway.MQTT, causeway.MQTTWS}
	message := &causeway.Message{Body: []byte("x")}

	// A client of ours tries again for ever when its connection is closed, which is
	// all that MQTT has to say; AMQP says why.
	send := func(tr causeway.Transport, d *client.Device) error {
		wait := patience
		if !strings.HasPrefix(string(tr), "amqp") {
			wait = 2 * time.Second
		}
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		return d.Send(ctx, message)
	}

	three := int64(3)
	if _, err := r.admin(dir).SetQuota(t.Context(), "localhost", client.QuotaSettings{DailyMessages: &three}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if res := r.post(device); res.StatusCode != http.StatusNoContent {
			t.Fatalf("a message of the day: %s", res.Status)
		}
	}
	if res := r.post(device); res.StatusCode != http.StatusForbidden || res.Header.Get("iothub-errorcode") != "IotHubQuotaExceeded" || res.Header.Get("Retry-After") == "" {
		t.Errorf("HTTPS, messages of the day used up: %s %v", res.Status, res.Header)
	}
	for _, tr := range transports {
		d := dial(tr)
		err := send(tr, d)
		switch {
		case err == nil:
			t.Errorf("%s, messages of the day used up: it was taken", tr)
		case strings.HasPrefix(string(tr), "amqp") && causeway.CodeOf(err) != causeway.IotHubQuotaExceeded:
			t.Errorf("%s, messages of the day used up: %v", tr, err)
		}
		d.Close()
	}
	q, err := r.admin(dir).Quota(t.Context(), "localhost")
	if err != nil || !q.Enabled || q.Messages.Used != 3 || q.Messages.Limit != 3 {
		t.Errorf("quota %+v %v", q, err)
	}
	r.stop()
	r = start(t, configFor(dir), cloud.Options{Devices: []string{"d"}})
	if res := r.post(device); res.StatusCode != http.StatusForbidden {
		t.Errorf("after a restart: %s", res.Status)
	}

	rates := map[string]client.Rate{"telemetry": {Count: 1, Seconds: 3600}}
	if _, err := r.admin(dir).SetQuota(t.Context(), "localhost", client.QuotaSettings{Rates: rates}); err != nil {
		t.Fatal(err)
	}
	if res := r.post(device); res.StatusCode != http.StatusNoContent {
		t.Fatalf("the message of the hour: %s", res.Status)
	}
	if res := r.post(device); res.StatusCode != http.StatusTooManyRequests || res.Header.Get("iothub-errorcode") != "ThrottlingException" || res.Header.Get("Retry-After") == "" {
		t.Errorf("HTTPS, throttled: %s %v", res.Status, res.Header)
	}
	for _, tr := range transports {
		d := dial(tr)
		err := send(tr, d)
		switch {
		case err == nil:
			t.Errorf("%s, throttled: it was taken", tr)
		case strings.HasPrefix(string(tr), "amqp") && causeway.CodeOf(err) != causeway.ThrottlingException:
			t.Errorf("%s, throttled: %v", tr, err)
		}
		d.Close()
	}
	text := r.metrics(dir)
	if want := `causeway_hub_throttled_total{hub="localhost",kind="telemetry"}`; !strings.Contains(text, want) {
		t.Errorf("the metrics have no %s", want)
	}
	if err := r.admin(dir).ClearQuota(t.Context(), "localhost"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if res := r.post(device); res.StatusCode != http.StatusNoContent {
			t.Errorf("without a quota: %s", res.Status)
		}
	}
}
