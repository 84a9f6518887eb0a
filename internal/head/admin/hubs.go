package admin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/obs"
)

// HubPath is the parameter of every operation about one hub.
type HubPath struct {
	Hub string `path:"hub" maxLength:"63" doc:"Name of the hub: its first host label" example:"myhub"`
}

func (p HubPath) name() string { return strings.ToLower(p.Hub) }

// hubBody is what is shown of a hub. It holds no secrets.
type hubBody struct {
	Name        string          `json:"name" doc:"Unique name"`
	Hosts       []string        `json:"hosts" nullable:"false" doc:"Host names it answers to, the canonical one first"`
	Partitions  int             `json:"partitions" doc:"Partitions of its event log"`
	Created     time.Time       `json:"created" doc:"When it was created"`
	Settings    settingsBody    `json:"settings" doc:"What differs from the defaults"`
	Authorities []authorityBody `json:"authorities" nullable:"false" doc:"Registered certificate authorities"`
	Devices     *countsBody     `json:"devices,omitempty" doc:"How many devices it has; of one hub only"`
}

type settingsBody struct {
	RetentionSeconds  int64 `json:"retentionSeconds,omitempty" minimum:"0" doc:"How long events are kept; 0 is the default"`
	RetentionBytes    int64 `json:"retentionBytes,omitempty" minimum:"0" doc:"How many bytes of events are kept; 0 is unlimited"`
	CommandTTLSeconds int64 `json:"commandTtlSeconds,omitempty" minimum:"0" maximum:"172800" doc:"Time to live of commands without an expiry; 0 is the default"`
	MaxDeliveryCount  int   `json:"maxDeliveryCount,omitempty" minimum:"0" maximum:"100" doc:"How often a command may be abandoned; 0 is the default"`

	FeedbackTTLSeconds       int64 `json:"feedbackTtlSeconds,omitempty" minimum:"0" maximum:"172800" doc:"How long feedback is kept; 0 is the default"`
	FeedbackLockSeconds      int64 `json:"feedbackLockSeconds,omitempty" minimum:"0" maximum:"300" doc:"How long a receiver has for a message of feedback; 0 is the default"`
	FeedbackMaxDeliveryCount int   `json:"feedbackMaxDeliveryCount,omitempty" minimum:"0" maximum:"100" doc:"How often feedback may be abandoned; 0 is the default"`

	FileUploadDisabled   bool   `json:"fileUploadDisabled,omitempty" doc:"Whether devices cannot upload files"`
	FileUploadContainer  string `json:"fileUploadContainer,omitempty" maxLength:"63" doc:"Blob container for the files of devices; without one, uploads"`
	FileUploadTTLSeconds int64  `json:"fileUploadTtlSeconds,omitempty" minimum:"0" maximum:"86400" doc:"How long a device has for an upload; 0 is the default, an hour"`
	JobsActive           int    `json:"jobsActive,omitempty" minimum:"0" maximum:"100" doc:"How many scheduled jobs run at once; 0 is the default, 10"`
	JobDevicesPerSecond  int    `json:"jobDevicesPerSecond,omitempty" minimum:"0" doc:"How many devices scheduled jobs work on in a second, all together; 0 is unlimited"`

	FileNotificationsDisabled        bool  `json:"fileNotificationsDisabled,omitempty" doc:"Whether back ends are not told of uploaded files"`
	FileNotificationTTLSeconds       int64 `json:"fileNotificationTtlSeconds,omitempty" minimum:"0" maximum:"172800" doc:"How long a file notification is kept; 0 is the default"`
	FileNotificationLockSeconds      int64 `json:"fileNotificationLockSeconds,omitempty" minimum:"0" maximum:"300" doc:"How long a receiver has for a file notification; 0 is the default"`
	FileNotificationMaxDeliveryCount int   `json:"fileNotificationMaxDeliveryCount,omitempty" minimum:"0" maximum:"100" doc:"How often a file notification may be abandoned; 0 is the default"`
}

type countsBody struct {
	Total    int `json:"total"`
	Enabled  int `json:"enabled"`
	Disabled int `json:"disabled"`
}

func newSettings(s directory.Settings) settingsBody {
	return settingsBody{
		RetentionSeconds: int64(s.RetentionTime.Seconds()), RetentionBytes: s.RetentionBytes,
		CommandTTLSeconds: int64(s.CommandTTL.Seconds()), MaxDeliveryCount: s.MaxDeliveryCount,
		FeedbackTTLSeconds: int64(s.FeedbackTTL.Seconds()), FeedbackLockSeconds: int64(s.FeedbackLock.Seconds()),
		FeedbackMaxDeliveryCount: s.FeedbackMaxDeliveryCount,
		FileUploadDisabled:       s.FileUploadDisabled, FileUploadContainer: s.FileUploadContainer, FileUploadTTLSeconds: int64(s.FileUploadTTL.Seconds()),
		JobsActive: s.JobsActive, JobDevicesPerSecond: s.JobDevicesPerSecond,
		FileNotificationsDisabled: s.FileNotificationsDisabled, FileNotificationTTLSeconds: int64(s.FileNotificationTTL.Seconds()),
		FileNotificationLockSeconds: int64(s.FileNotificationLock.Seconds()), FileNotificationMaxDeliveryCount: s.FileNotificationMaxDeliveryCount,
	}
}

// maxRetentionSeconds keeps a duration from overflowing: 100 years.
const maxRetentionSeconds = 100 * 365 * 24 * 3600

func (b settingsBody) settings() directory.Settings {
	seconds := func(n int64) time.Duration { return time.Duration(min(n, maxRetentionSeconds)) * time.Second }
	return directory.Settings{
		RetentionTime: seconds(b.RetentionSeconds), RetentionBytes: b.RetentionBytes,
		CommandTTL: seconds(b.CommandTTLSeconds), MaxDeliveryCount: b.MaxDeliveryCount,
		FeedbackTTL: seconds(b.FeedbackTTLSeconds), FeedbackLock: seconds(b.FeedbackLockSeconds),
		FeedbackMaxDeliveryCount: b.FeedbackMaxDeliveryCount,
		FileUploadDisabled:       b.FileUploadDisabled, FileUploadContainer: b.FileUploadContainer, FileUploadTTL: seconds(b.FileUploadTTLSeconds),
		JobsActive: b.JobsActive, JobDevicesPerSecond: b.JobDevicesPerSecond,
		FileNotificationsDisabled: b.FileNotificationsDisabled, FileNotificationTTL: seconds(b.FileNotificationTTLSeconds),
		FileNotificationLock: seconds(b.FileNotificationLockSeconds), FileNotificationMaxDeliveryCount: b.FileNotificationMaxDeliveryCount,
	}
}

func newHub(h directory.Hub) hubBody {
	return hubBody{
		Name: h.Name, Hosts: append([]string{}, h.Hosts...), Partitions: h.Partitions, Created: h.Created.UTC(),
		Settings: newSettings(h.Settings), Authorities: newAuthorities(h.Authority),
	}
}

type hubOutput struct{ Body hubBody }

type hubsOutput struct {
	Body struct {
		Hubs    []hubBody `json:"hubs" nullable:"false"`
		Damaged []string  `json:"damaged,omitempty" doc:"Hubs that are not served because what is stored of them cannot be read: restore or delete them"`
	}
}

type createHubInput struct {
	Body struct {
		Name       string        `json:"name" minLength:"1" maxLength:"63" doc:"Unique name: lower-case letters, digits and hyphens"`
		Hosts      []string      `json:"hosts,omitempty" nullable:"false" maxItems:"64" doc:"Host names it answers to, the canonical one first; without any, its name"`
		Partitions int           `json:"partitions,omitempty" minimum:"0" maximum:"32" doc:"Partitions of its event log, fixed for good; 0 is the default, 4"`
		Settings   *settingsBody `json:"settings,omitempty"`
	}
}

func (s *Server) addHubs(api huma.API) {
	huma.Register(api, operation("listHubs", http.MethodGet, "/hubs", "hubs", "List the hubs", 0), s.listHubs)

	create := operation("createHub", http.MethodPost, "/hubs", "hubs", "Create a hub with the five default policies", 0)
	create.DefaultStatus = http.StatusCreated
	create.Errors = append(create.Errors, http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity)
	huma.Register(api, create, s.createHub)

	get := operation("getHub", http.MethodGet, "/hubs/{hub}", "hubs", "Show a hub", auth.RegistryRead|auth.RegistryWrite)
	get.Errors = append(get.Errors, http.StatusNotFound)
	huma.Register(api, get, s.getHub)

	set := operation("putHubSettings", http.MethodPut, "/hubs/{hub}/settings", "hubs", "Replace the settings of a hub, but for its routing and its quota", 0)
	set.Errors = append(set.Errors, http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity)
	huma.Register(api, set, s.putHubSettings)

	del := operation("deleteHub", http.MethodDelete, "/hubs/{hub}", "hubs", "Delete a hub with all it holds", 0)
	del.DefaultStatus = http.StatusNoContent
	del.Errors = append(del.Errors, http.StatusNotFound)
	huma.Register(api, del, s.deleteHub)
}

func (s *Server) listHubs(context.Context, *struct{}) (*hubsOutput, error) {
	out := &hubsOutput{}
	out.Body.Hubs = []hubBody{}
	for _, h := range s.Directory.List() {
		out.Body.Hubs = append(out.Body.Hubs, newHub(h))
	}
	out.Body.Damaged = s.Directory.Damaged()
	return out, nil
}

func (s *Server) createHub(ctx context.Context, in *createHubInput) (*hubOutput, error) {
	o := directory.CreateOptions{Partitions: in.Body.Partitions}
	if in.Body.Settings != nil {
		o.Settings = in.Body.Settings.settings()
	}
	h, err := s.Directory.Create(ctx, in.Body.Name, in.Body.Hosts, o)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "hub created", obs.KeyHub, h.Name, "hosts", h.Hosts)
	return &hubOutput{newHub(h)}, nil
}

func (s *Server) getHub(ctx context.Context, in *HubPath) (*hubOutput, error) {
	h, err := s.find(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &hubOutput{newHub(h)}
	if s.Registry != nil {
		n, err := s.Registry.Count(ctx, h.Name)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		out.Body.Devices = &countsBody{n.Total, n.Enabled, n.Disabled}
	}
	return out, nil
}

type hubSettingsInput struct {
	HubPath
	Body settingsBody
}

func (s *Server) putHubSettings(ctx context.Context, in *hubSettingsInput) (*hubOutput, error) {
	h, err := s.Directory.Update(ctx, in.name(), func(h *directory.Hub) error {
		next := in.Body.settings()
		next.Routing, next.Quota = h.Settings.Routing, h.Settings.Quota
		h.Settings = next
		return nil
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "settings of a hub changed", obs.KeyHub, h.Name)
	return &hubOutput{newHub(h)}, nil
}

func (s *Server) deleteHub(ctx context.Context, in *HubPath) (*struct{}, error) {
	if err := s.Directory.Delete(ctx, in.name()); err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "hub deleted", obs.KeyHub, in.name())
	return nil, nil
}

// find returns a hub, or an error that says there is none of that name.
func (s *Server) find(name string) (directory.Hub, error) {
	h, ok := s.Directory.Get(name)
	if !ok {
		return directory.Hub{}, causeway.Errorf(causeway.GenericNotFound, "admin.hub", "there is no hub %q", name)
	}
	return h, nil
}
