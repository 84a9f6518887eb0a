package outbox

import "github.com/causeway-iot/causeway/internal/wire/hubamqp"

// Body returns the message's body: a JSON array of feedback records, or one
// JSON object of a file notification.
func (d Delivery) Body() []byte {
	if f := d.File; f != nil {
		return hubamqp.FileNotificationBody(hubamqp.FileNotification{
			Device: f.DeviceID, BlobURI: f.BlobURI, BlobName: f.BlobName,
			LastUpdated: f.Modified, Size: f.Size, Enqueued: f.Enqueued,
		})
	}
	records := make([]hubamqp.Feedback, len(d.Records))
	for i, r := range d.Records {
		records[i] = hubamqp.Feedback{
			OriginalMessageID: r.OriginalMessageID, Time: r.Time, Status: string(r.Status), Description: r.Description(),
			Device: r.DeviceID, Module: r.ModuleID, GenerationID: r.GenerationID,
		}
	}
	return hubamqp.FeedbackBody(records)
}
