package codec_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// transfers are some of many kinds; those after usual are written and read along
// the table.
func transfers() (all []codec.Transfer) {
	for _, handle := range []uint32{0, 1, 255, 256, 1 << 31} {
		all = append(all, codec.Transfer{Handle: handle}, codec.Transfer{Handle: handle, More: true},
			codec.Transfer{Handle: handle, Settled: codec.Some(true)}, codec.Transfer{Handle: handle, MessageFormat: codec.Some(uint32(0x80013700))})
		for _, tag := range [][]byte{nil, {}, {0}, bytes.Repeat([]byte{7}, 16), bytes.Repeat([]byte{255}, codec.MaxDeliveryTag)} {
			for _, settled := range []codec.Optional[bool]{{}, codec.Some(false), codec.Some(true)} {
				all = append(all, codec.Transfer{
					Handle: handle, DeliveryID: codec.Some(handle), DeliveryTag: tag, MessageFormat: codec.Some(uint32(0)), Settled: settled, More: handle > 255,
				})
			}
		}
	}
	return append(all,
		codec.Transfer{Aborted: true}, codec.Transfer{Resume: true}, codec.Transfer{Batchable: true, DeliveryID: codec.Some(uint32(3))},
		codec.Transfer{RcvSettleMode: codec.Some(uint8(1))}, codec.Transfer{State: codec.Accepted(), DeliveryID: codec.Some(uint32(9))})
}

// byTable decodes the body of a frame along the table: the name of a transfer in
// place of its number is not read by hand.
func byTable(p codec.Performative, body []byte) ([]byte, error) {
	const name = "amqp:transfer:list"
	named := append([]byte{0, 0xA3, byte(len(name))}, name...)
	return codec.Frame{Body: append(named, body[3:]...)}.Decode(p)
}

// TestTransferByHand writes and reads transfers by hand and along the table.
func TestTransferByHand(t *testing.T) {
	for _, payload := range [][]byte{nil, []byte("payload")} {
		for _, tr := range transfers() {
			want := codec.AppendFrame([]byte("before"), 7, &tr, payload)
			got := codec.AppendTransfer([]byte("before"), 7, &tr, payload)
			if !bytes.Equal(got, want) {
				t.Fatalf("%+v by hand\n%x, along the table\n%x", tr, got, want)
			}
			sameTransfer(t, want[len("before")+codec.FrameHeaderSize:])
		}
	}
}

// sameTransfer decodes the body of a frame in both ways.
func sameTransfer(t *testing.T, body []byte) {
	t.Helper()
	got, want := codec.Transfer{Handle: 99, More: true, DeliveryTag: []byte("old")}, codec.Transfer{Aborted: true}
	rest, err := codec.Frame{Body: body}.Decode(&got)
	wantRest, wantErr := byTable(&want, body)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%x: %v by hand, %v along the table", body, err, wantErr)
	}
	if err != nil {
		return
	}
	if diff := cmp.Diff(want, got, sameFields()); diff != "" || !bytes.Equal(rest, wantRest) {
		t.Fatalf("%x: payload %x, want %x\n%s", body, rest, wantRest, diff)
	}
}

// FuzzTransfer: what is read by hand is what the table says.
func FuzzTransfer(f *testing.F) {
	for _, tr := range transfers() {
		f.Add(codec.AppendFrame(nil, 0, &tr, []byte("p"))[codec.FrameHeaderSize+3:])
	}
	f.Add([]byte{0xC0, 1, 0})
	f.Add([]byte{0xC0, 0, 1})
	f.Add([]byte{0xC0, 12, 11, 0x43, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0x42, 0x42, 0x42})
	f.Fuzz(func(t *testing.T, list []byte) {
		sameTransfer(t, append([]byte{0, 0x53, byte(codec.CodeTransfer)}, list...))
	})
}

func TestTransferByHandDoesNotAllocate(t *testing.T) {
	payload := make([]byte, 256)
	buf := make([]byte, 0, 1024)
	var tag [4]byte
	id := uint32(0)
	var got codec.Transfer
	if n := testing.AllocsPerRun(100, func() {
		id++
		binary.BigEndian.PutUint32(tag[:], id)
		tr := codec.Transfer{Handle: 1, DeliveryID: codec.Some(id), DeliveryTag: tag[:], MessageFormat: codec.Some(uint32(0)), Settled: codec.Some(true)}
		buf = codec.AppendTransfer(buf[:0], 1, &tr, payload)
		f, _, _ := codec.Split(buf, 1<<16)
		if _, err := f.Decode(&got); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkTransferByHand(b *testing.B) {
	payload := mustAppend(b, telemetry())
	t := transfer()
	b.ReportAllocs()
	var buf []byte
	var p codec.Transfer
	for b.Loop() {
		buf = codec.AppendTransfer(buf[:0], 1, t, payload)
		f, _, _ := codec.Split(buf, 1<<16)
		if _, err := f.Decode(&p); err != nil {
			b.Fatal(err)
		}
	}
}
