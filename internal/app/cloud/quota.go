package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/upload"
	"github.com/causeway-iot/causeway/internal/core/quota"
	"github.com/causeway-iot/causeway/internal/hub/cloudhub"
)

// hubSettings are the settings of a hub that the configuration makes.
func hubSettings(h config.Hub) directory.Settings {
	if h.Quota == "" {
		return directory.Settings{}
	}
	return directory.Settings{Quota: &quota.Settings{Preset: h.Quota, Units: h.Units}}
}

// dailyFiles keeps how many messages a hub took on a day in a file beside its
// event log: DIR/hubs/HUB/daily.json. Only the last day is of interest.
type dailyFiles struct{ hubs string }

var _ quota.Store = dailyFiles{}

// dailyFile is the content of the file.
type dailyFile struct {
	Day      string `json:"day"`
	Messages int64  `json:"messages"`
}

func (d dailyFiles) path(hub string) string { return filepath.Join(d.hubs, hub, "daily.json") }

// Load returns what was saved of a day, 0 for nothing.
func (d dailyFiles) Load(_ context.Context, hub, day string) (int64, error) {
	b, err := state.ReadSecret(d.path(hub))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var f dailyFile
	if err := json.Unmarshal([]byte(b), &f); err != nil {
		return 0, fmt.Errorf("%s: %w", d.path(hub), err)
	}
	if f.Day != day {
		return 0, nil
	}
	return f.Messages, nil
}

// Save writes the file anew and returns when it is on stable storage.
func (d dailyFiles) Save(_ context.Context, hub, day string, n int64) error {
	b, err := json.Marshal(dailyFile{day, n})
	if err != nil {
		return err
	}
	return state.WriteFile(d.path(hub), append(b, '\n'), 0o600)
}

// limitedSends is the command queues for back ends that send by AMQP: what they
// send is held to the quota of the hub.
type limitedSends struct {
	*c2d.Service
	set *cloudhub.Set
}

// Enqueue waits until the hub takes another message to a device, then queues it.
func (l limitedSends) Enqueue(ctx context.Context, id causeway.Identity, m causeway.Message, generationID string) error {
	if h, ok := l.set.ByName(id.Hub); ok {
		if err := h.Limiter().Enter(ctx, quota.CommandSends, 1); err != nil {
			return err
		}
	}
	return l.Service.Enqueue(ctx, id, m, generationID)
}

// limitedReceives is the command queues for devices that poll over HTTPS.
type limitedReceives struct {
	*c2d.Service
	set *cloudhub.Set
}

// Receive waits until the hub takes another poll.
func (l limitedReceives) Receive(ctx context.Context, id causeway.Identity) (causeway.Message, bool, error) {
	if h, ok := l.set.ByName(id.Hub); ok {
		if err := h.Limiter().Enter(ctx, quota.CommandReceives, 1); err != nil {
			return causeway.Message{}, false, err
		}
	}
	return l.Service.Receive(ctx, id)
}

// limitedUploads is file uploads of devices.
type limitedUploads struct {
	*upload.Service
	set *cloudhub.Set
}

// Begin waits until the hub takes another start of an upload.
func (l limitedUploads) Begin(ctx context.Context, device causeway.Identity, name, host string) (upload.Permit, error) {
	if err := l.enter(ctx, device.Hub); err != nil {
		return upload.Permit{}, err
	}
	return l.Service.Begin(ctx, device, name, host)
}

// Complete waits until the hub takes another end of an upload.
func (l limitedUploads) Complete(ctx context.Context, device causeway.Identity, r upload.Report) error {
	if err := l.enter(ctx, device.Hub); err != nil {
		return err
	}
	return l.Service.Complete(ctx, device, r)
}

func (l limitedUploads) enter(ctx context.Context, hub string) error {
	h, ok := l.set.ByName(hub)
	if !ok {
		return nil
	}
	return h.Limiter().Enter(ctx, quota.Uploads, 1)
}
