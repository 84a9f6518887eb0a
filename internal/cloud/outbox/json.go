package outbox

import (
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// offset is how IoT Hub writes when a file was modified.
const offset = "2006-01-02T15:04:05-07:00"

// Body returns the message's body: a JSON array of feedback records, or one
// JSON object of a file notification.
func (d Delivery) Body() ([]byte, error) {
	var v any = d.File
	if d.File == nil {
		records := d.Records
		if records == nil {
			records = []FeedbackRecord{}
		}
		v = records
	}
	b, err := hubjson.Marshal(v)
	if err != nil {
		return nil, causeway.Errorf(causeway.ServerError, "outbox.Body", "the message cannot be written: %v", err)
	}
	return b, nil
}

// MarshalJSON implements [json.Marshaler].
func (r FeedbackRecord) MarshalJSON() ([]byte, error) {
	return hubjson.Marshal(struct {
		OriginalMessageID string `json:"originalMessageId"`
		Time              string `json:"enqueuedTimeUtc"`
		Status            string `json:"statusCode"`
		Description       string `json:"description"`
		DeviceID          string `json:"deviceId"`
		ModuleID          string `json:"moduleId,omitempty"`
		GenerationID      string `json:"deviceGenerationId"`
	}{r.OriginalMessageID, stamp(r.Time), string(r.Status), r.Description(), r.DeviceID, r.ModuleID, r.GenerationID})
}

// MarshalJSON implements [json.Marshaler].
func (n FileNotification) MarshalJSON() ([]byte, error) {
	return hubjson.Marshal(struct {
		DeviceID string `json:"deviceId"`
		BlobURI  string `json:"blobUri"`
		BlobName string `json:"blobName"`
		Modified string `json:"lastUpdatedTime"`
		Size     int64  `json:"blobSizeInBytes"`
		Enqueued string `json:"enqueuedTimeUtc"`
	}{n.DeviceID, n.BlobURI, n.BlobName, n.Modified.UTC().Format(offset), n.Size, stamp(n.Enqueued)})
}

func stamp(t time.Time) string { return t.UTC().Format(hubjson.Ticks) }
