#include "admission/estimator/gguf_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/gguf_writer.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr uint32_t kF32 = 0;
constexpr uint32_t kQ4K = 12;

std::string Error(std::string_view head) {
  const absl::StatusOr<GgufFile> file = ParseGguf(head, "m.gguf");
  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(file.status().message());
}

void WriteFile(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// Every type of value, and a table of two tensors.
GgufWriter Small() {
  GgufWriter writer;
  writer.Text("general.architecture", "llama").U8("u8", 200).I8("i8", -3).U16("u16", 65'535).I16("i16", -300);
  writer.U32("u32", 4'000'000'000).I32("i32", 7).U64("u64", uint64_t{1} << 63).I64("i64", -1).F32("f32", 0.5);
  writer.F64("f64", 1e-6).Bool("yes", true).Ints("ints", {4, 0, 8}).Bools("bools", {true, false});
  writer.Texts("tokenizer.ggml.tokens", {"a", "", "ccc"});
  writer.Tensor("token_embd.weight", kQ4K, {512, 4}).Tensor("output_norm.weight", kF32, {3});
  return writer;
}

TEST(GgufFileTest, ReadsEveryTypeOfValue) {
  const absl::StatusOr<GgufFile> file = ParseGguf(Small().Head(), "m.gguf");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->version, 3);
  EXPECT_EQ(file->String("general.architecture"), "llama");
  EXPECT_EQ(file->Uint("u8"), 200);
  EXPECT_EQ(file->Uint("u16"), 65'535);
  EXPECT_EQ(file->Uint("u32"), 4'000'000'000);
  EXPECT_EQ(file->Uint("i32"), 7);
  EXPECT_EQ(file->Float("f32"), 0.5);
  EXPECT_EQ(file->Float("f64"), 1e-6);
  EXPECT_EQ(file->Bool("yes"), true);
  EXPECT_THAT(file->UintArray("ints").value(), ElementsAre(4, 0, 8));
  EXPECT_THAT(file->UintArray("bools").value(), ElementsAre(1, 0));
}

TEST(GgufFileTest, AValueOfAnotherTypeOrOutOfRangeIsNoValue) {
  const absl::StatusOr<GgufFile> file = ParseGguf(Small().Ints("signed", {1, -1}).Head(), "m.gguf");
  ASSERT_TRUE(file.ok()) << file.status();
  for (const char* key : {"i8", "i16", "i64", "u64", "f32", "yes", "ints", "general.architecture", "absent"}) {
    EXPECT_EQ(file->Uint(key), std::nullopt) << key;
  }
  EXPECT_EQ(file->UintArray("signed"), std::nullopt);
  EXPECT_EQ(file->UintArray("u32"), std::nullopt);
  EXPECT_EQ(file->UintArray("tokenizer.ggml.tokens"), std::nullopt);
  EXPECT_EQ(file->String("u8"), std::nullopt);
  EXPECT_EQ(file->Float("u8"), std::nullopt);
  EXPECT_EQ(file->Bool("u8"), std::nullopt);
  EXPECT_EQ(file->Find("absent"), nullptr);
}

TEST(GgufFileTest, CountsTheBytesOfTheTable) {
  const absl::StatusOr<GgufFile> file = ParseGguf(Small().Head(), "m.gguf");
  ASSERT_TRUE(file.ok()) << file.status();
  const GgufTensor* embedding = file->FindTensor("token_embd.weight");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(embedding->elements, 2048);
  EXPECT_EQ(embedding->bytes, 2048 / 256 * 144);
  EXPECT_EQ(embedding->type->name, "Q4_K");
  EXPECT_THAT(embedding->dims, ElementsAre(512, 4));
  EXPECT_EQ(file->tensor_bytes, 2048 / 256 * 144 + 12);
  EXPECT_EQ(file->FindTensor("output.weight"), nullptr);
}

// Bits per element as llama.cpp's documentation states them, for one type of each build.
TEST(GgufFileTest, KnowsTheBlocksOfQuantizedTypes) {
  const std::pair<uint32_t, double> kBits[] = {
      {0, 32},      {1, 16},      {2, 4.5},     {3, 5},       {6, 5.5},     {7, 6},       {8, 8.5},
      {10, 2.625},  {11, 3.4375}, {12, 4.5},    {13, 5.5},    {14, 6.5625}, {16, 2.0625}, {17, 2.3125},
      {18, 3.0625}, {19, 1.5625}, {20, 4.5},    {21, 3.4375}, {22, 2.5625}, {23, 4.25},   {29, 1.75},
      {30, 16},     {34, 1.6875}, {35, 2.0625}, {39, 4.25},   {40, 4.5},    {41, 1.125}};
  for (const auto& [id, bits] : kBits) {
    const GgmlType* type = FindGgmlType(id);
    ASSERT_NE(type, nullptr) << id;
    EXPECT_EQ(8.0 * static_cast<double>(type->block_bytes) / static_cast<double>(type->block_elements), bits)
        << type->name;
  }
  EXPECT_EQ(FindGgmlType(4), nullptr);
  EXPECT_EQ(FindGgmlType(31), nullptr);
}

TEST(GgufFileTest, EveryCutIsAnErrorOrIncomplete) {
  const GgufWriter writer = Small();
  const std::string whole = writer.Whole();
  const size_t head = writer.Head().size();
  for (size_t size = 0; size < head; ++size) {
    EXPECT_THAT(Error(std::string_view(whole).substr(0, size)), AllOf(StartsWith("m.gguf: "), HasSubstr("cut off")));
  }
  const size_t data = whole.size() - 20;  // the last tensor's end: 12 bytes, padded to 32
  for (size_t size = head; size <= whole.size(); ++size) {
    const absl::StatusOr<GgufFile> file = ParseGguf(std::string_view(whole).substr(0, size), "m.gguf");
    ASSERT_TRUE(file.ok()) << size << file.status();
    EXPECT_EQ(file->complete, size >= data) << size;
  }
}

TEST(GgufFileTest, LengthsAreNotTrusted) {
  const std::string huge = GgufWriter::Number(~uint64_t{0}, 8);
  EXPECT_THAT(Error("GGUF" + GgufWriter::Number(3, 4) + huge + huge), HasSubstr("tensors"));
  EXPECT_THAT(Error("GGUF" + GgufWriter::Number(3, 4) + GgufWriter::Number(0, 8) + huge), HasSubstr("keys"));
  EXPECT_THAT(Error(GgufWriter().Raw("k", 8, huge).Head()), HasSubstr("cut off"));
  for (const uint32_t kind : {0, 4, 8, 12}) {
    EXPECT_THAT(Error(GgufWriter().Raw("k", 9, GgufWriter::Number(kind, 4) + huge).Head()), HasSubstr("cut off"));
  }
  EXPECT_THAT(Error(GgufWriter().U8(std::string(kMaxGgufName + 1, 'k'), 1).Head()), HasSubstr("length"));
  EXPECT_THAT(Error(GgufWriter().Tensor("", kF32, {1}).Head()), HasSubstr("length"));
}

TEST(GgufFileTest, RefusesWhatIsNotGguf) {
  EXPECT_THAT(Error("GGML" + std::string(40, '\0')), HasSubstr("not a GGUF file"));
  EXPECT_THAT(Error(GgufWriter(1).Head()), HasSubstr("version 1"));
  EXPECT_THAT(Error(GgufWriter(4).Head()), HasSubstr("version 4"));
  EXPECT_THAT(Error(GgufWriter(0x03000000).Head()), HasSubstr("big-endian"));
  EXPECT_TRUE(ParseGguf(GgufWriter(2).Head(), "m.gguf").ok());
  EXPECT_THAT(Error(GgufWriter().Raw("k", 13, "").Head()), HasSubstr("type 13"));
  EXPECT_THAT(Error(GgufWriter().Raw("k", 7, "\2").Head()), HasSubstr("no bool"));
  EXPECT_THAT(Error(GgufWriter().U8("k", 1).U8("k", 2).Head()), HasSubstr("\"k\": more than once"));
  const std::string array_of_arrays = GgufWriter::Number(9, 4) + GgufWriter::Number(1, 8) + std::string(12, '\0');
  EXPECT_THAT(Error(GgufWriter().Raw("k", 9, array_of_arrays).Head()), HasSubstr("an array of type 9"));
}

TEST(GgufFileTest, RefusesATableThatCannotBe) {
  EXPECT_THAT(Error(GgufWriter().Tensor("t\n", 99, {1}).Head()), AllOf(HasSubstr("t\\n"), HasSubstr("type 99")));
  EXPECT_THAT(Error(GgufWriter().Tensor("t", kQ4K, {100}).Head()), HasSubstr("whole blocks of Q4_K"));
  EXPECT_THAT(Error(GgufWriter().Tensor("t", kF32, {0}).Head()), HasSubstr("dimension of 0"));
  EXPECT_THAT(Error(GgufWriter().Tensor("t", kF32, {1, 1, 1, 1, 1}).Head()), HasSubstr("5 dimensions"));
  const uint64_t large = uint64_t{1} << 47;
  EXPECT_THAT(Error(GgufWriter().Tensor("t", kF32, {large, large}).Head()), HasSubstr("too many elements"));
  EXPECT_THAT(Error(GgufWriter().TensorAt("t", kF32, {1}, 7).Head()), HasSubstr("alignment of 32"));
  EXPECT_THAT(Error(GgufWriter().TensorAt("t", kF32, {1}, uint64_t{1} << 63).Head()), HasSubstr("offset"));
  EXPECT_THAT(Error(GgufWriter().TensorAt("a", kF32, {16}, 0).TensorAt("b", kF32, {1}, 32).Head()),
              HasSubstr("\"b\": begins at 32"));
  EXPECT_THAT(Error(GgufWriter().Tensor("t", kF32, {1}).Tensor("t", kF32, {1}).Head()), HasSubstr("more than once"));
}

TEST(GgufFileTest, TheFileMaySetItsAlignment) {
  const auto with = [](uint32_t alignment, uint64_t offset) {
    return GgufWriter().U32("general.alignment", alignment).TensorAt("t", kF32, {1}, offset).Head();
  };
  EXPECT_TRUE(ParseGguf(with(8, 8), "m.gguf").ok());
  EXPECT_THAT(Error(with(64, 32)), HasSubstr("alignment of 64"));
  EXPECT_THAT(Error(with(0, 0)), HasSubstr("power of two"));
  EXPECT_THAT(Error(with(24, 0)), HasSubstr("power of two"));
  EXPECT_THAT(Error(GgufWriter().Text("general.alignment", "8").Head()), HasSubstr("power of two"));
}

// A vocabulary is passed over: only its size is kept, and it is not held against the file.
TEST(GgufFileTest, KeepsOnlyTheCountOfLongArraysAndNothingOfLongTexts) {
  const std::string template_text(kMaxGgufText + 1, 't');
  const absl::StatusOr<GgufFile> file = ParseGguf(GgufWriter()
                                                      .Texts("tokens", std::vector<std::string>(250'000, "token"))
                                                      .Ints("types", std::vector<int32_t>(250'000, 1))
                                                      .Text("template", template_text)
                                                      .U32("after", 9)
                                                      .Head(),
                                                  "m.gguf");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->Find("tokens")->count, 250'000);
  EXPECT_EQ(file->Find("types")->count, 250'000);
  EXPECT_TRUE(file->Find("types")->numbers.empty());
  EXPECT_EQ(file->UintArray("types"), std::nullopt);
  EXPECT_EQ(file->String("template"), std::nullopt);
  EXPECT_EQ(file->Uint("after"), 9);
}

// From a file it reads the same as from memory, chunk borders or not, and nothing of the data: the file has a hole.
TEST(GgufFileTest, ReadsTheHeadOfALargeFileOnly) {
  const TemporaryDirectory directory;
  const std::string path = directory.At("large.gguf");
  GgufWriter writer = Small();
  writer.Texts("tokens", std::vector<std::string>(50'000, "a token")).Text("long", std::string(200'000, 'x'));
  writer.Tensor("large", kF32, {1 << 20, 1 << 14});
  const std::string head = writer.Head();
  WriteFile(path, head);

  const absl::StatusOr<GgufFile> cut = ReadGgufFile(path);
  ASSERT_TRUE(cut.ok()) << cut.status();
  EXPECT_FALSE(cut->complete);
  std::filesystem::resize_file(path, head.size() + (size_t{1} << 36) + 4096);
  const absl::StatusOr<GgufFile> file = ReadGgufFile(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->complete);
  EXPECT_EQ(file->tensor_bytes, ParseGguf(head, "").value().tensor_bytes);
  EXPECT_EQ(file->Uint("u32"), 4'000'000'000);

  std::filesystem::resize_file(path, head.size() - 1);
  EXPECT_THAT(std::string(ReadGgufFile(path).status().message()), AllOf(StartsWith(path), HasSubstr("cut off")));
  EXPECT_EQ(ReadGgufFile(directory.At("")).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadGgufFile(path + "f").status().code(), absl::StatusCode::kNotFound);
}

class SplitTest : public ::testing::Test {
 protected:
  std::string Path(int number) { return directory_.At("m-0000" + std::to_string(number) + "-of-00003.gguf"); }
  static GgufWriter Part(int number, int count = 3) {
    GgufWriter writer;
    writer.U16("split.no", static_cast<uint16_t>(number - 1)).U16("split.count", static_cast<uint16_t>(count));
    return writer;
  }
  // Three parts; the first has the metadata and no tensor.
  void SetUp() override {
    WriteFile(Path(1), Part(1).I32("split.tensors.count", 2).Text("general.architecture", "llama").Whole());
    WriteFile(Path(2), Part(2).Tensor("b", kF32, {8}).Whole());
    WriteFile(Path(3), Part(3).Tensor("a", kF32, {4}).Whole());
  }
  std::string ReadError(int number) { return std::string(ReadGgufFile(Path(number)).status().message()); }

  TemporaryDirectory directory_;
};

TEST_F(SplitTest, ReadsAllPartsWhicheverIsNamed) {
  for (int number = 1; number <= 3; ++number) {
    const absl::StatusOr<GgufFile> file = ReadGgufFile(Path(number));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->tensor_bytes, 48);
    EXPECT_EQ(file->FindTensor("a")->bytes, 16);
    EXPECT_EQ(file->String("general.architecture"), "llama");
    EXPECT_TRUE(file->complete);
  }
}

TEST_F(SplitTest, OnePartCutMakesTheWholeIncomplete) {
  WriteFile(Path(2), Part(2).Tensor("b", kF32, {8}).Head());
  EXPECT_FALSE(ReadGgufFile(Path(1)).value().complete);
}

TEST_F(SplitTest, NamesThePartThatIsMissingOrWrong) {
  std::filesystem::remove(Path(2));
  EXPECT_EQ(ReadGgufFile(Path(1)).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(ReadError(3), StartsWith(Path(2)));
  WriteFile(Path(2), Part(3).Tensor("b", kF32, {8}).Whole());
  EXPECT_THAT(ReadError(1), AllOf(StartsWith(Path(2)), HasSubstr("part 2 of 3")));
  WriteFile(Path(2), Part(2).Tensor("a", kF32, {8}).Whole());
  EXPECT_THAT(ReadError(1), HasSubstr("more than one part"));
  WriteFile(Path(2), Part(2).Tensor("b", kF32, {8}).Tensor("c", kF32, {8}).Whole());
  EXPECT_THAT(ReadError(1), HasSubstr("2 are expected, the parts have 3"));
}

TEST_F(SplitTest, APartUnderAnotherNameIsRefused) {
  const std::string path = directory_.At("renamed.gguf");
  WriteFile(path, Part(1).Whole());
  EXPECT_THAT(std::string(ReadGgufFile(path).status().message()), HasSubstr("-00001-of-00003.gguf"));
  WriteFile(path, Part(1, 60'000).Whole());
  EXPECT_THAT(std::string(ReadGgufFile(path).status().message()), HasSubstr("cannot be"));
}

}  // namespace
}  // namespace vramgate
