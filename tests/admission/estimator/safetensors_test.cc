#include "admission/estimator/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

absl::StatusOr<Safetensors> Parse(std::string_view file) {
  return ParseSafetensors(file, file.size(), "m.safetensors");
}

std::string Error(std::string_view file) {
  const absl::StatusOr<Safetensors> parsed = Parse(file);
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << file;
  EXPECT_THAT(std::string(parsed.status().message()), StartsWith("m.safetensors: "));
  return std::string(parsed.status().message());
}

std::string HeaderError(std::string_view json) {
  return Error(SafetensorsWriter::Framed(json));
}

SafetensorsWriter Small() {
  SafetensorsWriter writer;
  writer.Tensor("w", "BF16", {3, 4}, 24).Tensor("packed", "F4", {2, 5}, 5).Tensor("scalar", "F32", {}, 4);
  return writer.Tensor("empty", "F8_E4M3", {0, 7}, 0);
}

TEST(SafetensorsTest, CountsWhatTheHeaderLists) {
  const absl::StatusOr<Safetensors> parsed = Parse(Small().Whole());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->complete);
  EXPECT_EQ(parsed->tensor_bytes, 33);
  const SafetensorsTensor* w = parsed->Find("w");
  ASSERT_NE(w, nullptr);
  EXPECT_EQ(w->type->name, "BF16");
  EXPECT_EQ(w->elements, 12);
  EXPECT_EQ(w->bytes, 24);
  EXPECT_THAT(w->shape, ElementsAre(3, 4));
  EXPECT_EQ(parsed->Find("scalar")->elements, 1);
  EXPECT_EQ(parsed->Find("absent"), nullptr);
}

TEST(SafetensorsTest, KnowsTheSizeOfEveryType) {
  const std::pair<const char*, uint64_t> kBytesOfEight[] = {
      {"BOOL", 8}, {"U8", 8},      {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8},
      {"F4", 4},   {"F6_E2M3", 6}, {"I16", 16}, {"U16", 16},    {"F16", 16},    {"BF16", 16},
      {"I32", 32}, {"U32", 32},    {"F32", 32}, {"F64", 64},    {"I64", 64},    {"U64", 64}};
  for (const auto& [type, bytes] : kBytesOfEight) {
    EXPECT_TRUE(Parse(SafetensorsWriter().Tensor("t", type, {8}, bytes).Whole()).ok()) << type;
    EXPECT_FALSE(Parse(SafetensorsWriter().Tensor("t", type, {8}, bytes + 1).Whole()).ok()) << type;
  }
}

TEST(SafetensorsTest, EveryCutIsAnErrorOrIncomplete) {
  const std::string whole = Small().Whole();
  const size_t head = Small().Head().size();
  for (size_t size = 0; size < head; ++size) Error(std::string_view(whole).substr(0, size));
  for (size_t size = head; size <= whole.size(); ++size) {
    const absl::StatusOr<Safetensors> parsed = Parse(std::string_view(whole).substr(0, size));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->complete, size == whole.size());
  }
  EXPECT_THAT(Error(whole + "x"), HasSubstr("1 bytes more"));
}

TEST(SafetensorsTest, LengthsAreNotTrusted) {
  EXPECT_THAT(Error(std::string(8, '\xff')), HasSubstr("18446744073709551615 bytes"));
  EXPECT_THAT(Error(std::string("\0\0\0\5\0\0\0\0{}", 10)), HasSubstr("cut off"));
  EXPECT_THAT(HeaderError(R"({"t":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})"),
              HasSubstr("too many elements"));
  EXPECT_THAT(HeaderError(R"({"t":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,0]}})"),
              HasSubstr("a dimension of"));
  EXPECT_THAT(HeaderError(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[18446744073709551615,0]}})"),
              HasSubstr("are not the 1 bytes"));
}

TEST(SafetensorsTest, RefusesHeadersThatCannotBe) {
  EXPECT_THAT(HeaderError("[]"), HasSubstr("a list is not expected"));
  EXPECT_THAT(HeaderError("{"), HasSubstr("not JSON"));
  EXPECT_THAT(HeaderError(R"({"t":1})"), HasSubstr("a number is not expected"));
  EXPECT_THAT(HeaderError(R"({"t":{"dtype":"U8","shape":[1]}})"), HasSubstr("missing"));
  EXPECT_THAT(HeaderError(R"({"t":{"dtype":"Q8","shape":[1],"data_offsets":[0,1]}})"),
              HasSubstr("\"Q8\" is not known"));
  EXPECT_THAT(HeaderError(R"({"t":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})"),
              HasSubstr("more than once"));
  EXPECT_THAT(HeaderError(R"({"t":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})"), HasSubstr("negative"));
  EXPECT_THAT(HeaderError(R"({"t":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})"), HasSubstr("a list"));
  EXPECT_THAT(HeaderError(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})"), HasSubstr("a number"));
  EXPECT_THAT(HeaderError(R"({"t":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}})"), HasSubstr("not whole bytes"));
  EXPECT_THAT(HeaderError(R"({"t":{"dtype":"U8","shape":[],"data_offsets":[0,1],"x":1}})"), HasSubstr("\"x\""));
  EXPECT_THAT(HeaderError(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                          R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})"),
              HasSubstr("\"a\": more than once"));
  EXPECT_THAT(HeaderError(std::string(10'000, '[')), HasSubstr("a list"));
}

TEST(SafetensorsTest, DataHasNeitherHolesNorOverlaps) {
  const auto two = [](int begin) {
    return absl::StrCat(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"__metadata__":{"format":"pt"},)",
                        R"("b":{"dtype":"U8","shape":[4],"data_offsets":[)", begin, ",", begin + 4, "]}}   ");
  };
  EXPECT_TRUE(Parse(SafetensorsWriter::Framed(two(4))).ok());
  EXPECT_THAT(HeaderError(two(3)), HasSubstr("begins at 3"));
  EXPECT_THAT(HeaderError(two(5)), HasSubstr("begins at 5"));
  EXPECT_THAT(HeaderError(two(0)), HasSubstr("begins at 0"));
}

class CheckpointTest : public ::testing::Test {
 protected:
  void Write(std::string_view name, std::string_view bytes) {
    std::ofstream(directory_.At(name), std::ios::binary) << bytes;
  }
  void WriteIndex(const nlohmann::json& map) {
    Write("model.safetensors.index.json",
          nlohmann::json({{"metadata", {{"total_size", 1}, {"x", {1, nullptr, "s"}}}}, {"weight_map", map}}).dump());
  }
  absl::StatusOr<Safetensors> Read() { return ReadSafetensors(directory_.path().string()); }
  std::string ReadError() {
    const absl::StatusOr<Safetensors> read = Read();
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(read.status().message());
  }

  TemporaryDirectory directory_;
};

TEST_F(CheckpointTest, ReadsASingleFile) {
  Write("model.safetensors", Small().Whole());
  const absl::StatusOr<Safetensors> read = Read();
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->tensor_bytes, 33);
  EXPECT_TRUE(read->complete);
}

TEST_F(CheckpointTest, ReadsAllShardsOfTheIndexAndNoOtherFile) {
  WriteIndex({{"a", "1.safetensors"}, {"b", "2.safetensors"}, {"c", "1.safetensors"}});
  Write("1.safetensors", SafetensorsWriter().Tensor("a", "U8", {1}, 1).Tensor("c", "U8", {2}, 2).Whole());
  Write("2.safetensors", SafetensorsWriter().Tensor("b", "BF16", {50}, 100).Head());
  Write("consolidated.safetensors", "not looked at");
  Write("model.safetensors", "not looked at");
  const absl::StatusOr<Safetensors> read = Read();
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->tensor_bytes, 103);
  EXPECT_FALSE(read->complete);  // the second shard has no data
  EXPECT_NE(read->Find("b"), nullptr);
}

TEST_F(CheckpointTest, NamesTheShardThatIsMissing) {
  WriteIndex({{"a", "1.safetensors"}});
  EXPECT_EQ(Read().status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(Read().status().message()), HasSubstr("1.safetensors"));
  Write("1.safetensors", SafetensorsWriter().Tensor("b", "U8", {1}, 1).Whole());
  EXPECT_THAT(ReadError(), AllOf(HasSubstr("1.safetensors"), HasSubstr("has no tensor \"a\"")));
}

TEST_F(CheckpointTest, ATensorInTwoShardsIsRefused) {
  WriteIndex({{"a", "1.safetensors"}, {"b", "2.safetensors"}});
  Write("1.safetensors", SafetensorsWriter().Tensor("a", "U8", {1}, 1).Whole());
  Write("2.safetensors", SafetensorsWriter().Tensor("a", "U8", {1}, 1).Tensor("b", "U8", {1}, 1).Whole());
  EXPECT_THAT(ReadError(), HasSubstr("\"a\": more than once"));
}

TEST_F(CheckpointTest, NoShardIsOutsideOfTheDirectory) {
  std::filesystem::create_directory(directory_.At("sub"));
  Write("sub/m.safetensors", SafetensorsWriter().Tensor("a", "U8", {1}, 1).Whole());
  for (const char* name : {"sub/m.safetensors", "../m.safetensors", "/etc/passwd", "..", ".", "", "a\\b"}) {
    WriteIndex({{"a", name}});
    EXPECT_THAT(ReadError(), HasSubstr("not the name of a file beside the index")) << name;
  }
  WriteIndex({{"a", std::string("m\0x", 3)}});
  EXPECT_THAT(ReadError(), HasSubstr("not the name of a file"));
  WriteIndex({{"a", "sub"}});
  EXPECT_THAT(ReadError(), HasSubstr("not a regular file"));
}

TEST_F(CheckpointTest, RefusesAnIndexThatCannotBe) {
  for (const char* index : {"", "[]", "1", "\"weight_map\"", "{}", R"({"weight_map":1})", R"({"weight_map":"a"})",
                            R"({"weight_map":[]})", R"({"weight_map":{"a":1}})", R"({"weight_map":{"a":{}}})",
                            R"({"weight_map":{},"weight_map":{}})", R"({"weight_map":{"a":"b","a":"b"}})"}) {
    Write("model.safetensors.index.json", index);
    EXPECT_THAT(ReadError(), HasSubstr("index.json: ")) << index;
  }
}

TEST_F(CheckpointTest, ADirectoryWithoutOneIsNotFound) {
  Write("config.json", "{}");
  EXPECT_EQ(Read().status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadSafetensors(directory_.At("config.json")).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace vramgate
