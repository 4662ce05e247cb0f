package content

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	aliceURI = "mimi://example.com/u/alice-smith"
	bobURI   = "mimi://example.com/u/bob-jones"
	cathyURI = "mimi://example.com/u/cathy-washington"
	roomURI  = "mimi://example.com/r/engineering_team"

	markdownType = "text/markdown;variant=GFM-MIMI"
	htmlType     = "text/html;charset=utf-8"
)

// example is an official example as Go values. References are names of other
// examples.
type example struct {
	salt                string
	sender              string
	topic               string
	replaces, inReplyTo string
	expires             *Expiration
	body                NestedPart
	kind                Kind
}

func render(language, contentType, text string) NestedPart {
	return single(DispositionRender, language, contentType, text)
}

func single(d Disposition, language, contentType, content string) NestedPart {
	return NestedPart{d, language, SinglePart{contentType, []byte(content)}}
}

func multi(d Disposition, semantics PartSemantics, parts ...NestedPart) NestedPart {
	return NestedPart{d, "", MultiPart{semantics, parts}}
}

// welcome is one half of the nested example: an image in the given format, and HTML in
// two languages that shows it.
func welcome(part, contentType, image string) NestedPart {
	page := func(language, title, alt string) NestedPart {
		return render(language, htmlType, "<html><body><h1>"+title+"!</h1>\n"+
			`<img src="cid:`+part+`@local.invalid" alt="`+alt+`"/>`+"\n</body></html>")
	}
	return multi(DispositionRender, ProcessAll,
		multi(DispositionRender, ChooseOne, page("en", "Welcome", "Welcome image"), page("fr", "Bienvenue", "Image bienvenue")),
		single(DispositionInline, "", contentType, image))
}

var examples = map[string]example{
	"original": {
		salt: "5eed9406c2545547ab6f09f20a18b003", sender: aliceURI, kind: KindText,
		body: render("", markdownType, "Hi everyone, we just shipped release 2.0. __Good  work__!"),
	},
	"reply": {
		salt: "11a458c73b8dd2cf404db4b378b8fe4d", sender: bobURI, inReplyTo: "original", kind: KindReply,
		body: render("", markdownType, "Right on! _Congratulations_ 'all!"),
	},
	"reaction": {
		salt: "d37bc0e6a8b4f04e9e6382375f587bf6", sender: cathyURI, inReplyTo: "original", kind: KindReaction,
		body: single(DispositionReaction, "", TextContentType, "❤"),
	},
	"mention": {
		salt: "04f290e215d0f82d1750bfa8b7dc089d", sender: cathyURI, inReplyTo: "original", kind: KindReply,
		body: render("", markdownType, "Kudos to [@Alice Smith]("+aliceURI+") for making the release happen!"),
	},
	"mention-html": { // we read no HTML
		salt: "15d9705fd5bf5e02b0af47c85f8b98fe", sender: cathyURI, inReplyTo: "original", kind: KindUnknown,
		body: render("", htmlType, `<p>Kudos to <a href="`+aliceURI+`">@Alice Smith</a> for making the release happen!</p>`),
	},
	"edit": {
		salt: "b8c2e6d8800ecf45df39be6c45f4c042", sender: bobURI, replaces: "reply", inReplyTo: "original", kind: KindEdit,
		body: render("", markdownType, "Right on! _Congratulations_ y'all!"),
	},
	"delete": {
		salt: "0a590d73b2c7761c39168be5ebf7f2e6", sender: bobURI, replaces: "reply", inReplyTo: "original", kind: KindDelete,
		body: NestedPart{DispositionRender, "", NullPart{}},
	},
	"unlike": {
		salt: "c5ba86dc9fd272e58ca52ec805b79199", sender: cathyURI, replaces: "reaction", inReplyTo: "original", kind: KindUnreaction,
		body: NestedPart{DispositionReaction, "", NullPart{}},
	},
	"expiring": {
		salt: "33be993eb39f418f9295afc2ae160d2d", sender: aliceURI, expires: &Expiration{Seconds: 1644390004}, kind: KindText,
		body: render("", markdownType, "__*VPN GOING DOWN*__ I'm rebooting the VPN in ten minutes unless anyone objects."),
	},
	"attachment": {
		salt: "18fac6371e4e53f1aeaf8a013155c166", sender: bobURI, kind: KindAttachment,
		body: NestedPart{DispositionAttachment, "en", ExternalPart{
			ContentType: "video/mp4", URL: "https://example.com/storage/8ksB4bSrrRE.mp4",
			Size: 708234961, EncAlg: 1, HashAlg: 1,
			Key:         unhex("21399320958a6f4c745dde670d95e0d8"),
			Nonce:       unhex("c86cf2c33f21527d1dd76f5b"),
			ContentHash: unhex("9ab17a8cf0890baaae7ee016c7312fcc080ba46498389458ee44f0276e783163"),
			Description: "2 hours of key signing video", Filename: "bigfile.mp4",
		}},
	},
	"conferencing": {
		salt: "678ac6cd54de049c3e9665cd212470fa", sender: aliceURI, topic: "Foo 118", kind: KindUnknown,
		body: NestedPart{DispositionSession, "", ExternalPart{
			URL: "https://example.com/join/12345", Description: "Join the Foo 118 conference",
		}},
	},
	"multipart-1": {
		salt: "261c953e178af653fe3d42641b91d814", sender: aliceURI, kind: KindText,
		body: multi(DispositionRender, ChooseOne,
			render("", markdownType, "# Welcome!"),
			render("", "application/vnd.examplevendor-fancy-im-message", string(unhex("dc861ebaa718fd7c3ca159f71a2001")))),
	},
	"multipart-2": { // reactions to nothing
		salt: "8528dc2d92e4f1944d62042907ab94d0", sender: aliceURI, kind: KindUnknown,
		body: multi(DispositionReaction, ProcessAll,
			single(DispositionReaction, "", TextContentType, "❤"),
			single(DispositionReaction, "", TextContentType, "🥳"),
			single(DispositionReaction, "", TextContentType, "🤞")),
	},
	"multipart-3": { // the image alone, for want of HTML
		salt: "b8362793168d18c049b882d4642a2274", sender: aliceURI, kind: KindAttachment,
		body: multi(DispositionRender, ChooseOne,
			welcome("5", "image/gif", string(unhex("dc861ebaa718fd7c3ca159f71a2001a7"))),
			welcome("10", "image/png", string(unhex("fa444237451a05a72bb0f67037cc1669")))),
	},
}

// message builds the example with the real ids of those that it refers to.
func (e example) message(t *testing.T) *Message {
	m := &Message{Salt: Salt(unhex(e.salt)), TopicID: []byte(e.topic), Expires: e.expires, Body: e.body}
	if e.replaces != "" {
		m.Replaces = examples[e.replaces].id(t)
	}
	if e.inReplyTo != "" {
		m.InReplyTo = examples[e.inReplyTo].id(t)
	}
	if err := WithAddresses(e.sender, roomURI)(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func (e example) id(t *testing.T) MessageID {
	id, err := e.message(t).ID(e.sender, roomURI)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// vectorsFolder finds the official examples.
func vectorsFolder(t *testing.T) string {
	for _, folder := range []string{os.Getenv("MIMI_VECTORS"), "../../shared/mimi-vectors"} {
		if folder == "" {
			continue
		}
		if _, err := os.Stat(folder); err == nil {
			return folder
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("official examples are missing: set MIMI_VECTORS")
	}
	t.Skip("no official examples in ../shared/mimi-vectors nor in MIMI_VECTORS")
	return ""
}

func readVector(t *testing.T, file string) []byte {
	data, err := os.ReadFile(filepath.Join(vectorsFolder(t), file))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var idInComment = regexp.MustCompile(`h'([0-9a-f\s#]{64,}?)'`)

// documentedID is the first message id that an annotated example has.
func documentedID(t *testing.T, name string) MessageID {
	match := idInComment.FindSubmatch(readVector(t, name+".edn"))
	if match == nil {
		t.Fatal("no message id in the annotated example")
	}
	id, err := ParseMessageID(strings.Join(strings.Fields(strings.ReplaceAll(string(match[1]), "#", "")), ""))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestVectors runs the official examples of the MIMI working group, in both
// directions. Every file has to be known.
func TestVectors(t *testing.T) {
	passed := 0
	for name, e := range examples {
		t.Run(name, func(t *testing.T) {
			checkExample(t, readVector(t, name+".cbor"), e)
			if got, want := e.id(t), documentedID(t, name); got != want {
				t.Errorf("id %v, want %v", got, want)
			}
			if !t.Failed() {
				passed++
			}
		})
	}
	t.Run("implied-original", func(t *testing.T) {
		checkImplied(t)
		if !t.Failed() {
			passed++
		}
	})
	t.Run("all files", func(t *testing.T) {
		files, err := filepath.Glob(filepath.Join(vectorsFolder(t), "*.cbor"))
		if err != nil {
			t.Fatal(err)
		}
		if passed == 0 || passed != len(files) {
			t.Errorf("%d examples passed, there are %d", passed, len(files))
		}
		t.Logf("%d of %d examples passed", passed, len(files))
	})
}

func checkExample(t *testing.T, data []byte, e example) {
	m, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	want := e.message(t)
	if diff := cmp.Diff(want, m, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	for name, message := range map[string]*Message{"our values": want, "the parsed message": m} {
		again, err := message.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, data) {
			t.Errorf("%s encoded to\n%x, want\n%x", name, again, data)
		}
	}
	if got := m.Kind(); got != e.kind {
		t.Errorf("kind %v, want %v", got, e.kind)
	}
}

// checkImplied reads what a client knows beside the message. It is no message. The
// id in the binary form is that of an earlier draft, the one in the annotated form
// is right.
func checkImplied(t *testing.T) {
	data := readVector(t, "implied-original.cbor")
	if _, err := Parse(data); err == nil {
		t.Error("took the derived values for a message")
	}
	var implied struct {
		_                struct{} `cbor:",toarray"`
		ID               []byte
		Accepted         uint64
		Group            []byte
		Leaf             uint32
		Client, User, To string
	}
	if err := decoder.Unmarshal(data, &implied); err != nil {
		t.Fatal(err)
	}
	id, err := examples["original"].message(t).ID(implied.User, implied.To)
	if err != nil {
		t.Fatal(err)
	}
	if want := documentedID(t, "implied-original"); id != want {
		t.Errorf("id %v, want %v", id, want)
	}
}
