package outbox_test

import (
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
)

func TestBody(t *testing.T) {
	at := time.Date(2024, 1, 31, 13, 30, 15, 120_000_000, time.FixedZone("", 3600))
	record := func(s c2d.Status) outbox.FeedbackRecord {
		return outbox.FeedbackRecord{OriginalMessageID: "m<1>", Time: at, Status: s, DeviceID: "d", GenerationID: "638421678151200000"}
	}
	module := record(c2d.Expired)
	module.ModuleID = "vision"
	head := `{"originalMessageId":"m<1>","enqueuedTimeUtc":"2024-01-31T12:30:15.1200000Z",`
	tail := `"deviceId":"d","deviceGenerationId":"638421678151200000"}`
	for name, tt := range map[string]struct {
		d    outbox.Delivery
		want string
	}{
		"none":    {outbox.Delivery{}, `[]`},
		"success": {outbox.Delivery{Records: []outbox.FeedbackRecord{record(c2d.Success)}}, `[` + head + `"statusCode":"Success","description":"Success",` + tail + `]`},
		"many": {
			outbox.Delivery{Records: []outbox.FeedbackRecord{record(c2d.DeliveryCountExceeded), record(c2d.RejectedByDevice), record(c2d.Purged), module}},
			`[` + head + `"statusCode":"DeliveryCountExceeded","description":"Maximum delivery count exceeded",` + tail +
				`,` + head + `"statusCode":"Rejected","description":"Message rejected by device",` + tail +
				`,` + head + `"statusCode":"Purged","description":"Message purged",` + tail +
				`,` + head + `"statusCode":"Expired","description":"Message expired","deviceId":"d","moduleId":"vision","deviceGenerationId":"638421678151200000"}]`,
		},
		"file": {
			outbox.Delivery{File: &outbox.FileNotification{DeviceID: "d", BlobURI: "https://s/c/d/a?x=1&y=2", BlobName: "d/a", Modified: at, Size: 5 << 30, Enqueued: at}},
			`{"deviceId":"d","blobUri":"https://s/c/d/a?x=1&y=2","blobName":"d/a","lastUpdatedTime":"2024-01-31T12:30:15+00:00","blobSizeInBytes":5368709120,"enqueuedTimeUtc":"2024-01-31T12:30:15.1200000Z"}`,
		},
	} {
		if got := tt.d.Body(); string(got) != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tt.want)
		}
	}
}
