package picture

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
)

// Bounds of the search for fonts.
const (
	mostFonts    = 400
	largestFont  = 64 << 20
	mostLetters  = 20 // that are named as lacking
	mostFamilies = 12 // that are kept open
)

// preferred fonts are looked into before others: they have the letters that most lack.
var preferred = []string{
	"notosanscjk", "notosanssc", "sourcehansans", "wqy-microhei", "wqy-zenhei", "pingfang", "msyh", "hiragino", "stheiti", "simhei", "droidsansfallback",
	"yugoth", "meiryo", "malgun", "applesdgothic", "dejavusans", "notosans", "freesans", "arialuni",
}

// fonts finds the glyphs of letters: in the font that is compiled in, which also measured
// them, or else in those of the machine.
type fonts struct {
	faces   map[facet]font.Face
	others  []*sfnt.Font
	files   []string // yet to be looked into
	found   bool     // files are listed
	unknown map[rune]bool
	chosen  map[rune]*sfnt.Font
	buffer  sfnt.Buffer
}

type facet struct {
	font *sfnt.Font
	size float64
}

func newFonts() *fonts {
	return &fonts{faces: map[facet]font.Face{}, unknown: map[rune]bool{}, chosen: map[rune]*sfnt.Font{}}
}

func (f *fonts) face(r rune, size float64, isBold, isMono bool) font.Face {
	own := faceOf(isBold, isMono).font
	chosen := own
	if !f.has(own, r) {
		if other := f.other(r); other != nil {
			chosen = other
		}
	}
	key := facet{chosen, size}
	if f.faces[key] == nil {
		made, err := opentype.NewFace(chosen, &opentype.FaceOptions{Size: size, DPI: 72, Hinting: font.HintingNone})
		if err != nil { // of no size
			return f.face(r, 1, isBold, isMono)
		}
		f.faces[key] = made
	}
	return f.faces[key]
}

func (f *fonts) has(in *sfnt.Font, r rune) bool {
	index, err := in.GlyphIndex(&f.buffer, r)
	if err != nil || index == 0 {
		return false
	}
	_, err = in.GlyphAdvance(&f.buffer, index, 64, font.HintingNone)
	return err == nil
}

// other finds a font of the machine that has a letter.
func (f *fonts) other(r rune) *sfnt.Font {
	if chosen := f.chosen[r]; chosen != nil || f.unknown[r] {
		return chosen
	}
	for i := 0; ; i++ {
		for i >= len(f.others) {
			if !f.more() {
				f.unknown[r] = true
				return nil
			}
		}
		if f.has(f.others[i], r) {
			f.chosen[r] = f.others[i]
			return f.others[i]
		}
	}
}

// more opens the next font file; false: there is none.
func (f *fonts) more() bool {
	if !f.found {
		f.files, f.found = fontFiles(), true
	}
	for len(f.files) > 0 && len(f.others) < mostFamilies {
		file := f.files[0]
		f.files = f.files[1:]
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		collection, err := opentype.ParseCollection(data)
		if err != nil || collection.NumFonts() == 0 {
			continue
		}
		if first, err := collection.Font(0); err == nil {
			f.others = append(f.others, first)
			return true
		}
	}
	return false
}

// fontFiles lists those of the machine, the most useful first.
func fontFiles() []string {
	home, _ := os.UserHomeDir()
	folders := []string{"/usr/share/fonts", "/usr/local/share/fonts"}
	if home != "" {
		folders = append(folders, filepath.Join(home, ".local", "share", "fonts"), filepath.Join(home, ".fonts"), filepath.Join(home, "Library", "Fonts"))
	}
	if data := os.Getenv("XDG_DATA_HOME"); data != "" {
		folders = append(folders, filepath.Join(data, "fonts"))
	}
	switch runtime.GOOS {
	case "darwin":
		folders = append(folders, "/System/Library/Fonts", "/Library/Fonts")
	case "windows":
		folders = append(folders, filepath.Join(os.Getenv("WINDIR"), "Fonts"))
	}
	var files []string
	for _, folder := range folders {
		_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || len(files) >= mostFonts {
				return nil
			}
			switch strings.ToLower(filepath.Ext(path)) {
			case ".ttf", ".otf", ".ttc", ".otc":
				if info, err := entry.Info(); err == nil && info.Size() <= largestFont {
					files = append(files, path)
				}
			}
			return nil
		})
	}
	rank := func(path string) int {
		name := strings.ToLower(filepath.Base(path))
		for i, word := range preferred {
			if strings.HasPrefix(name, word) {
				return 2*i + boolean(!strings.Contains(name, "regular") && strings.Contains(name, "-"))
			}
		}
		return 2 * len(preferred)
	}
	slices.SortStableFunc(files, func(a, b string) int { return rank(a) - rank(b) })
	return files
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// lacking are letters for which there was no font.
func (f *fonts) lacking() string {
	var letters []rune
	for r := range f.unknown {
		letters = append(letters, r)
	}
	slices.Sort(letters)
	return string(letters[:min(len(letters), mostLetters)])
}
