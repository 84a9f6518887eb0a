package sqlite_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/dps/localhub"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/core/secret"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// BenchmarkRegister has devices of a group register by a key that is derived from
// the group's, and ask for the outcome: what a registration costs behind the head,
// durably, with the identity on a hub of the same cloud.
func BenchmarkRegister(b *testing.B) {
	db := open(b)
	sealer, err := secret.NewKeyring(make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	reg := registry.New(registry.Options{Store: db.Registry(), Sealer: sealer})
	s, err := dps.New(b.Context(), dps.Options{
		Store: db.Provisioning(), Sealer: sealer,
		Targets: localhub.Hubs{Registry: reg, Name: func(string) (string, bool) { return "plant", true }},
	})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.Create(b.Context(), "dps", nil); err != nil {
		b.Fatal(err)
	}
	i, err := s.Change(b.Context(), "dps", func(i *dps.Instance) error {
		i.Links = []dps.Link{{Host: "plant.example"}}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	g, err := s.PutEnrollment(b.Context(), "dps", dps.Enrollment{ID: "g", Group: true, Attestation: dps.Attestation{Kind: dps.SymmetricKey}}, "")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(500)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id := fmt.Sprintf("dev-%d", n.Add(1))
			key, err := attestation.DeriveKey(g.Attestation.Keys.Primary, id)
			if err != nil {
				b.Error(err)
				return
			}
			raw, _ := base64.StdEncoding.DecodeString(string(key))
			token := sas.Sign(i.IDScope+"/registrations/"+id, raw, "registration", time.Now().Add(time.Hour))
			r := causeway.Registration{Scope: i.IDScope, ID: id, Credential: causeway.Credential{Token: causeway.Secret(token)}}
			op, err := s.Register(ctx, r)
			for err == nil && op.Status == "assigning" {
				<-time.After(op.RetryAfter / 4) // devices are told to wait longer
				op, err = s.Lookup(ctx, r, op.ID)
			}
			if err != nil || op.Status != "assigned" {
				b.Errorf("%+v, %v", op, err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "registrations/s")
}
