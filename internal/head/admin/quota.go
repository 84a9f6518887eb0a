package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/quota"
	"github.com/causeway-iot/causeway/internal/obs"
)

// rateBody is a rate.
type rateBody struct {
	Count   float64 `json:"count" minimum:"0" maximum:"1000000000" doc:"So many operations; 0 is no limit"`
	Seconds float64 `json:"seconds,omitempty" minimum:"0" maximum:"86400" doc:"In so many seconds; 0 is one"`
}

// quotaBody is what a hub is held to.
type quotaBody struct {
	Preset        string              `json:"preset,omitempty" enum:"free,basic-b1,basic-b2,basic-b3,standard-s1,standard-s2,standard-s3" doc:"Edition whose limits the hub has; none without one"`
	Units         int                 `json:"units,omitempty" minimum:"0" maximum:"200" doc:"Units of the edition; 0 is one"`
	Rates         map[string]rateBody `json:"rates,omitempty" doc:"Rates in place of the edition's, by kind of operation"`
	DailyMessages *int64              `json:"dailyMessages,omitempty" minimum:"0" doc:"Messages from devices in a day, UTC, in units of 4 KB, in place of the edition's; 0 is no limit"`
}

func newQuota(s *quota.Settings) quotaBody {
	if s == nil {
		return quotaBody{}
	}
	b := quotaBody{Preset: s.Preset, Units: s.Units, DailyMessages: s.DailyMessages}
	for name, r := range s.Rates {
		if b.Rates == nil {
			b.Rates = map[string]rateBody{}
		}
		b.Rates[name] = rateBody(r)
	}
	return b
}

func (b *quotaBody) settings() *quota.Settings {
	s := &quota.Settings{Preset: b.Preset, Units: b.Units, DailyMessages: b.DailyMessages}
	for name, r := range b.Rates {
		if s.Rates == nil {
			s.Rates = map[string]quota.RateSetting{}
		}
		s.Rates[name] = quota.RateSetting(r)
	}
	return s
}

// quotaState is what is set, and what comes of it.
type quotaState struct {
	Enabled      bool                `json:"enabled" doc:"Whether the hub is held to anything"`
	Settings     quotaBody           `json:"settings"`
	Rates        map[string]rateBody `json:"rates" doc:"Rates that are in force, by kind of operation; a kind without one has no limit"`
	NotAvailable []string            `json:"notAvailable" nullable:"false" doc:"Kinds of operations that the edition does not have"`
	Messages     messagesBody        `json:"messages"`
}

type messagesBody struct {
	Used  int64 `json:"used" doc:"Messages counted on this day, UTC; 0 while nothing limits them"`
	Limit int64 `json:"limit" doc:"Messages of a day; 0 is no limit"`
	Bytes int   `json:"bytes,omitempty" doc:"Bytes that count as one message"`
}

type quotaOutput struct{ Body quotaState }

type quotaInput struct {
	HubPath
	Body quotaBody
}

// quotaMetric is one row of the quota metrics of the service's own management.
type quotaMetric struct {
	Name         string `json:"name" enum:"TotalMessages,TotalDeviceCount" doc:"What is counted"`
	CurrentValue int64  `json:"currentValue"`
	MaxValue     int64  `json:"maxValue" doc:"0 is no limit"`
}

type quotaMetricsOutput struct {
	Body struct {
		Value []quotaMetric `json:"value" nullable:"false"`
	}
}

func (s *Server) addQuota(api huma.API) {
	get := operation("getQuota", http.MethodGet, "/hubs/{hub}/quota", "quotas", "Show what a hub is held to, and what is used of it", auth.RegistryRead|auth.RegistryWrite)
	get.Errors = append(get.Errors, http.StatusNotFound)
	huma.Register(api, get, s.getQuota)

	put := operation("putQuota", http.MethodPut, "/hubs/{hub}/quota", "quotas", "Hold a hub to the limits of an edition, or to others", 0)
	put.Errors = append(put.Errors, http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity)
	huma.Register(api, put, s.putQuota)

	del := operation("deleteQuota", http.MethodDelete, "/hubs/{hub}/quota", "quotas", "Hold a hub to nothing", 0)
	del.DefaultStatus = http.StatusNoContent
	del.Errors = append(del.Errors, http.StatusNotFound)
	huma.Register(api, del, s.deleteQuota)

	metrics := operation("getQuotaMetrics", http.MethodGet, "/hubs/{hub}/quotaMetrics", "quotas", "Show quota metrics in the form of the service's management", auth.RegistryRead|auth.RegistryWrite)
	metrics.Errors = append(metrics.Errors, http.StatusNotFound)
	huma.Register(api, metrics, s.getQuotaMetrics)
}

func (s *Server) getQuota(ctx context.Context, in *HubPath) (*quotaOutput, error) {
	h, err := s.find(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return s.quotaOf(ctx, h)
}

// quotaOf returns the state of a hub's quota.
func (s *Server) quotaOf(ctx context.Context, h directory.Hub) (*quotaOutput, error) {
	out := &quotaOutput{quotaState{
		Enabled: h.Settings.Quota != nil, Settings: newQuota(h.Settings.Quota),
		Rates: map[string]rateBody{}, NotAvailable: []string{},
	}}
	if h.Settings.Quota == nil {
		return out, nil
	}
	limits, err := h.Settings.Quota.Limits()
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	for k := range quota.NumKinds {
		if r := limits.Rates[k]; r.Count > 0 {
			out.Body.Rates[k.String()] = rateBody{r.Count, r.Per.Seconds()}
		}
		if limits.Missing[k] {
			out.Body.NotAvailable = append(out.Body.NotAvailable, k.String())
		}
	}
	out.Body.Messages = messagesBody{Limit: limits.DailyMessages, Bytes: limits.MessageUnit}
	if out.Body.Messages.Used, err = s.used(ctx, h.Name); err != nil {
		return nil, s.problem(ctx, err)
	}
	return out, nil
}

// used returns the messages that a hub took today.
func (s *Server) used(ctx context.Context, hub string) (int64, error) {
	if s.Limiter == nil {
		return 0, nil
	}
	return s.Limiter(hub).Used(ctx)
}

func (s *Server) putQuota(ctx context.Context, in *quotaInput) (*quotaOutput, error) {
	h, err := s.Directory.Update(ctx, in.name(), func(h *directory.Hub) error {
		h.Settings.Quota = in.Body.settings()
		return nil
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "quota changed", obs.KeyHub, h.Name, "preset", in.Body.Preset, "units", in.Body.Units)
	return s.quotaOf(ctx, h)
}

func (s *Server) deleteQuota(ctx context.Context, in *HubPath) (*struct{}, error) {
	h, err := s.Directory.Update(ctx, in.name(), func(h *directory.Hub) error {
		h.Settings.Quota = nil
		return nil
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "quota removed", obs.KeyHub, h.Name)
	return nil, nil
}

func (s *Server) getQuotaMetrics(ctx context.Context, in *HubPath) (*quotaMetricsOutput, error) {
	h, err := s.find(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	messages, devices := quotaMetric{Name: "TotalMessages"}, quotaMetric{Name: "TotalDeviceCount"}
	if h.Settings.Quota != nil {
		limits, err := h.Settings.Quota.Limits()
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		messages.MaxValue = limits.DailyMessages
		if messages.CurrentValue, err = s.used(ctx, h.Name); err != nil {
			return nil, s.problem(ctx, err)
		}
	}
	if s.Registry != nil {
		n, err := s.Registry.Count(ctx, h.Name)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		devices.CurrentValue = int64(n.Total)
	}
	out := &quotaMetricsOutput{}
	out.Body.Value = []quotaMetric{messages, devices}
	return out, nil
}
